"""Checkpoints are whole or not there; damage is found and named."""

import json
import os

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

import mae_core  # noqa: F401
from mae_core import files
from mae_core.errors import CheckpointError, UserError
from mae_core.training.checkpoints import checkpoint as ck
from mae_core.training.checkpoints.retention import link_best, prune
from mae_core.training.optim import build_adamw
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import list_checkpoints, newest_checkpoint, open_checkpoint
from mae_core.weights.checkpoint_state import SCHEMA, State, Validated
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.load import load_model


class Model(paddle.nn.Layer):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.second = paddle.nn.Linear(3, width), paddle.nn.Linear(width, 2)

    def forward(self, x):
        return self.second(self.first(x))


def trained(steps=3, width=4):
    paddle.seed(0)
    model = Model(width)
    optimizer = build_adamw(model)
    optimizer.set_lr(0.1)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    model(paddle.ones([2, 3])).square().sum().backward()
    optimizer.step()
    optimizer.clear_grad()


def save(folder, number, **state):
    model, optimizer = trained()
    return ck.save_checkpoint(folder, model, optimizer, State(number, **state))


def test_restored_run_goes_on_bit_for_bit(tmp_path):
    model, optimizer = trained()
    path = ck.save_checkpoint(tmp_path, model, optimizer, State(3, bad_steps=2))
    step(model, optimizer)
    other, other_optimizer = trained(steps=0)
    found = newest_checkpoint(tmp_path, print)
    assert (found.folder, found.state.step, found.state.bad_steps) == (path, 3, 2)
    ck.restore(found.folder, other, other_optimizer)
    other_optimizer.set_lr(0.1)
    step(other, other_optimizer)
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


class WithMasters:
    """An optimizer of 16-bit weights, which keeps them in float32 too."""

    def __init__(self, model, first):
        self.values = {p.name: paddle.full(p.shape, first + i, "float32") for i, p in enumerate(model.parameters())}
        self.restored = None

    def state_dict(self):
        moments = {f"{name}_moment1_0": value * 10 for name, value in self.values.items()}
        return {**moments, "master_weights": dict(self.values), "LR_Scheduler": {}}

    def set_state_dict(self, state):
        self.restored = state


def test_master_weights_are_saved_and_restored_for_the_parameters_that_they_are_of(tmp_path):
    model, other = Model(), Model()  # Paddle names the second one's parameters otherwise
    path = ck.save_checkpoint(tmp_path, model, WithMasters(model, 1.0), State(3))
    fake = WithMasters(other, 0.0)
    ck.restore(path, other, fake)
    masters = fake.restored.pop("master_weights")
    assert {name: float(value.max()) for name, value in masters.items()} == {
        p.name: 1.0 + i for i, p in enumerate(other.parameters())
    }
    assert {name: float(value.max()) for name, value in fake.restored.items()} == {
        f"{p.name}_moment1_0": 10.0 + 10 * i for i, p in enumerate(other.parameters())
    }


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_newest_falls_back_and_says_so(tmp_path, file, share):
    older, newest = save(tmp_path, 1), save(tmp_path, 2)
    data = (newest / file).read_bytes()
    (newest / file).write_bytes(data[: int(len(data) * share)])
    said = []
    assert newest_checkpoint(tmp_path, said.append).folder == older
    assert str(newest) in said[0]


def test_every_flipped_bit_is_detected(tmp_path):
    path = save(tmp_path, 1)
    rng = np.random.default_rng(0)
    for file in ("model.safetensors", "optimizer.safetensors"):
        good = (path / file).read_bytes()
        for position in rng.integers(0, len(good), 20):
            bad = bytearray(good)
            bad[position] ^= 1 << int(rng.integers(8))
            (path / file).write_bytes(bad)
            with pytest.raises(CheckpointError, match=file):
                open_checkpoint(path)
        (path / file).write_bytes(good)
    assert open_checkpoint(path).state.step == 1


def test_all_damaged_is_an_error_with_each_reason(tmp_path):
    for number in (1, 2):
        (save(tmp_path, number) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"step_00000002.*step_00000001") as error:
        newest_checkpoint(tmp_path, lambda line: None)
    assert error.value.exit_code == 4
    with pytest.raises(CheckpointError, match="no checkpoint"):
        newest_checkpoint(tmp_path / "none", print)


def test_newer_schema_is_refused_by_number(tmp_path):
    path = save(tmp_path, 1)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "schema": SCHEMA + 1}))
    with pytest.raises(CheckpointError, match="upgrade mae-core"):
        open_checkpoint(path)


@pytest.mark.parametrize("stage", ["write_safetensors", "encode_state", "fsync_path"])
def test_failing_save_leaves_the_earlier_checkpoint_and_no_litter(tmp_path, monkeypatch, stage):
    older = save(tmp_path, 1)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files if stage == "fsync_path" else ck, stage, full)
    with pytest.raises(CheckpointError, match="No space left"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [older.name]
    assert newest_checkpoint(tmp_path, print).folder == older


def test_a_score_is_added_to_a_checkpoint_or_leaves_it_as_it_was(tmp_path, monkeypatch):
    path = save(tmp_path, 1)
    ck.update_state(path, {"note": "x"})
    ck.update_state(path, {"validation": {"best": None, "scored": 1}})
    state = open_checkpoint(path).state
    assert (state.validation, state.step) == (Validated(None, 1), 1)
    before = (path / "state.json").read_bytes()
    assert json.loads(before)["note"] == "x", "entries that only a later version knows stay"

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ck, "write_atomic", full)
    with pytest.raises(CheckpointError, match=r"state\.json could not be written.*No space left"):
        ck.update_state(path, {"validation": None})
    assert (path / "state.json").read_bytes() == before


def test_leftovers_of_a_killed_save_are_swept(tmp_path):
    path = save(tmp_path, 1)
    (tmp_path / ".step_00000002.99.tmp").mkdir()
    assert list_checkpoints(tmp_path) == [path]
    assert len(list(tmp_path.iterdir())) == 2  # reading leaves the save of a running process alone
    ck.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_prune_keeps_the_newest(tmp_path):
    for number in (1, 5, 10):
        save(tmp_path, number)
    prune(tmp_path, 10, 2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step_00000010", "step_00000005"]


def test_prune_deletes_what_lies_beyond_the_step_that_was_saved(tmp_path):
    for number in (1, 2, 5, 8, 10):
        save(tmp_path, number)
    prune(tmp_path, 5, 1, best=1)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step_00000005", "step_00000001"]


@pytest.mark.parametrize("name", ["step_60_keepme", "step_60", "step_00000060.bak", "step_٠٠٠٠٠٠٦٠", "step_", "best"])
def test_what_is_not_ours_is_neither_adopted_nor_deleted(tmp_path, name):
    theirs = save(tmp_path / "other", 60).rename(tmp_path / name)
    (tmp_path / "step_00000070").write_text("a file of theirs")
    (tmp_path / "step_00000080").symlink_to(theirs)
    (tmp_path / ".step_notes.tmp").mkdir()
    for number in (1, 2, 3):
        save(tmp_path, number)
    ck.sweep(tmp_path)
    prune(tmp_path, 3, 2)
    assert newest_checkpoint(tmp_path, print).folder.name == "step_00000003"
    left = {path.name for path in tmp_path.iterdir()} - {"other"}
    assert left == {name, *(f"step_000000{n}" for n in ("02", "03", "70", "80")), ".step_notes.tmp"}
    assert len(list(theirs.iterdir())) == 3


def test_a_best_of_the_users_own_is_left_and_said(tmp_path, caplog):
    save(tmp_path / "checkpoints", 1)
    (tmp_path / "best").mkdir()
    link_best(tmp_path, 1)
    assert not (tmp_path / "best").is_symlink()
    assert "is not a link" in caplog.text
    (tmp_path / "best").rmdir()
    link_best(tmp_path, 1)
    assert (tmp_path / "best").resolve().name == "step_00000001"


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_modes_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        path = save(RunFolder(tmp_path / "run").checkpoints, 1)
        convert(path, tmp_path / "converted.safetensors")
        ck.update_state(path, {"validation": None})
    finally:
        os.umask(before)
    for made in (tmp_path / "run", *(tmp_path / "run").rglob("*"), tmp_path / "converted.safetensors"):
        wanted = (0o777 if made.is_dir() else 0o666) & ~umask
        assert made.stat().st_mode & 0o777 == wanted, made


def test_identical_runs_give_identical_files(tmp_path):
    a, b = save(tmp_path / "a", 1), save(tmp_path / "b", 1)
    for file in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (a / file).read_bytes() == (b / file).read_bytes()


def test_moments_of_another_model_are_refused_by_name(tmp_path):
    path = save(tmp_path, 1)
    write_safetensors(path / "optimizer.safetensors", {"third.weight/moment1_0": np.zeros(3, "float32")})
    model, optimizer = trained(0)
    with pytest.raises(CheckpointError, match=r"third\.weight/moment1_0 \[3\]"):
        ck.restore(path, model, optimizer)


def test_weights_load_from_whatever_the_user_names(tmp_path):
    run = RunFolder(tmp_path / "run")
    path = save(run.checkpoints, 1)
    expected = trained()[0]
    for name in (run.path, path, path / "model.safetensors", path / "model"):
        model = Model()
        load_model(name, model)
        assert model.state_dict().keys() == expected.state_dict().keys()
        np.testing.assert_array_equal(model.first.weight.numpy(), load_file(path / "model.safetensors")["first.weight"])


def test_weights_of_another_model_are_refused_by_parameter(tmp_path):
    path = save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"first.weight has shape \[3, 4\], the model \[3, 5\]"):
        load_model(path, Model(width=5))
    with pytest.raises(CheckpointError, match=r"missing weight; unexpected first\.bias"):
        load_model(path, paddle.nn.Linear(1, 1, bias_attr=False))
    (tmp_path / "junk.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match=r"junk\.safetensors is not a readable"):
        load_model(tmp_path / "junk", Model())
    with pytest.raises(CheckpointError, match="nowhere: no such file or folder"):
        load_model(tmp_path / "nowhere", Model())


def test_second_run_in_a_folder_is_refused(tmp_path):
    first = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="in use"):
        RunFolder(tmp_path / "run")
    first.close()
    second = RunFolder(tmp_path / "run")
    first.close()  # once more does nothing, and nothing to the second
    with pytest.raises(UserError, match="in use"):
        RunFolder(tmp_path / "run")
    second.close()


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")
    assert os.listdir(tmp_path) == ["file"]
