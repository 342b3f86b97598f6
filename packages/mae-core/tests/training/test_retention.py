"""Saves behind the run's steps: what waits for them, what they delete and when, how their errors arrive."""

import threading
import time

import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.errors import CheckpointError, NonFiniteError
from mae_core.training.checkpoints import retention
from mae_core.training.checkpoints.retention import Checkpoints
from mae_core.training.optim import build_adamw
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import list_checkpoints, open_checkpoint
from mae_core.weights.checkpoint_state import Best, State, Validated

MODEL = paddle.nn.Linear(3, 2)
OPTIMIZER = build_adamw(MODEL)


def save(checkpoints, step, best=None):
    checkpoints.save(MODEL, OPTIMIZER, State(step), None, best)


def names(checkpoints):
    return [int(path.name[5:]) for path in list_checkpoints(checkpoints.folder.checkpoints)]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(RunFolder(tmp_path / "run"), keep=1)


@pytest.fixture
def gate(monkeypatch):
    """Hold up the writing of steps above 1 until the gate opens."""
    gate, write = threading.Event(), retention.write_snapshot

    def slow(folder, snapshot):
        assert snapshot.state.step == 1 or gate.wait(30)
        return write(folder, snapshot)

    monkeypatch.setattr(retention, "write_snapshot", slow)
    return gate


def test_an_older_one_is_deleted_only_after_the_newer_is_whole(checkpoints, gate):
    save(checkpoints, 1)
    checkpoints.wait()
    save(checkpoints, 2)
    checkpoints.check()  # the run goes on
    assert names(checkpoints) == [1]
    gate.set()
    checkpoints.wait()
    assert names(checkpoints) == [2]


def test_a_score_waits_for_its_checkpoint(checkpoints, gate):
    save(checkpoints, 2)
    threading.Timer(0.1, gate.set).start()
    found = Validated(Best(2, 0.5), 2)
    checkpoints.note_score(2, found, best=2)
    assert open_checkpoint(checkpoints.folder.path / "best").state.validation == found


def test_a_step_is_saved_once_and_by_ranks_with_a_folder_only(checkpoints, monkeypatch):
    taken, take = [], retention.take_snapshot

    def counted(model, optimizer, state, averages):
        taken.append(state.step)
        return take(model, optimizer, state, averages)

    monkeypatch.setattr(retention, "take_snapshot", counted)
    with checkpoints.finished():
        for step in (1, 1, 2, 2):
            save(checkpoints, step)
    assert taken == [1, 2]
    with Checkpoints(None, keep=1).finished() as nothing:
        save(Checkpoints(None, keep=1), 3)
    assert nothing is None
    assert taken == [1, 2]


@pytest.fixture
def full(checkpoints, monkeypatch):
    save(checkpoints, 1)
    checkpoints.wait()

    def fail(folder, snapshot):
        raise CheckpointError("disk full; earlier ones are intact")

    monkeypatch.setattr(retention, "write_snapshot", fail)
    save(checkpoints, 2)


LOOKS = {
    "check": lambda checkpoints: checkpoints.check(),
    "save": lambda checkpoints: save(checkpoints, 3),
    "score": lambda checkpoints: checkpoints.note_score(2, Validated(None, 2), None),
    "end": lambda checkpoints: None,
}


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_failed_save_is_raised_at_the_next_look_and_nothing_is_deleted(checkpoints, look):
    while checkpoints._writer.busy:
        time.sleep(0.001)
    with pytest.raises(CheckpointError, match="earlier ones are intact"), checkpoints.finished():
        look(checkpoints)
    assert names(checkpoints) == [1]


@pytest.mark.usefixtures("full")
def test_an_error_of_the_run_comes_before_that_of_its_save(checkpoints, caplog):
    with pytest.raises(NonFiniteError), checkpoints.finished():
        raise NonFiniteError("loss is nan")
    assert "disk full" in caplog.text


def test_a_run_that_fails_finishes_its_save(checkpoints, gate):
    threading.Timer(0.1, gate.set).start()
    save(checkpoints, 2)
    with pytest.raises(NonFiniteError), checkpoints.finished():
        raise NonFiniteError("loss is nan")
    assert names(checkpoints) == [2]
