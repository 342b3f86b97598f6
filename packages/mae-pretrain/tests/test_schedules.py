"""A learning rate that falls at the end alone: one trunk serves several lengths, each a run of its own."""

import shutil
from types import SimpleNamespace

import pytest
from stage_runs import PRETRAIN, assert_refused, assert_same, records

from mae_core.errors import ConfigError
from mae_core.stage.config.node import to_dict
from mae_core.stage.config.to_arguments import plan_of, schedule_of
from mae_core.stage.run.drift import note_schedule
from mae_core.weights.checkpoint_state import State
from mae_pretrain.config import RECIPE

WORDS = [*PRETRAIN.tiny, "-batch_size", 8, "TRAIN.SCHEDULE", "wsd", "TRAIN.EMA", 0.5, "SAVE_KEEP", 9, "REPORT_FREQ", 1]
FILES = ("model", "ema", "optimizer")


def contents(run):
    return {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trunk(data, tmp_path_factory):
    """A run of 3 epochs, 3 steps each, whose learning rate never falls."""
    run = tmp_path_factory.mktemp("trunk") / "run"
    words = [*WORDS, "TRAIN.DECAY", 0, "-data_path", data, "-output", run]
    assert PRETRAIN.start(*words).returncode == 0
    return run


@pytest.fixture(scope="module")
def planned(data, tmp_path_factory):
    """A run of 4 epochs that was to fall over the second half from the start."""
    run = tmp_path_factory.mktemp("planned") / "run"
    words = [*WORDS, "TRAIN.DECAY", 0.5, "TRAIN.NUM_EPOCHS", 4, "-data_path", data, "-output", run]
    assert PRETRAIN.start(*words).returncode == 0
    return run


def test_any_checkpoint_of_the_trunk_ends_as_a_run_planned_for_that_length(trunk, planned, cli, tmp_path):
    before, end = contents(trunk), tmp_path / "end"
    result = cli("-resume", trunk / "checkpoints/step_00000006", "--anneal", "TRAIN.DECAY", 0.5, "-output", end)
    assert result.returncode == 0, result.stderr
    assert "annealing from step 6: the learning rate falls from 4.69e-06 until step 12, the end" in result.stdout
    assert contents(trunk) == before
    for file in FILES:
        assert_same(planned, end, file=file)
    assert records(planned)[-6:] == records(end)


def test_what_ends_it_goes_on_bit_for_bit_where_it_was_stopped(trunk, planned, cli, tmp_path):
    end = tmp_path / "end"
    assert cli("-resume", trunk / "checkpoints/step_00000006", "--anneal", "TRAIN.DECAY", 0.5, "-output", end,
               ).returncode == 0  # fmt: skip
    shutil.rmtree(end / "checkpoints/step_00000012")
    result = cli("-resume", end)
    assert result.returncode == 0, result.stderr
    assert "step_00000009 at step 9" in result.stdout
    for file in FILES:
        assert_same(planned, end, file=file)


def test_without_an_output_the_next_free_folder_is_taken(trunk, tmp_path):
    result = PRETRAIN.start("-resume", trunk, "--anneal", "TRAIN.DECAY", 0.1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "this run writes to runs/pretrain-001" in result.stdout
    assert records(tmp_path / "runs/pretrain-001")[-1]["step"] == 10


def test_what_cannot_be_annealed_is_refused_in_words(trunk, planned, data, cli, tmp_path):
    end = ["--anneal", "-output", tmp_path / "end"]
    assert_refused(cli("-resume", trunk, *end), 2, ["TRAIN.ANNEAL=9", "TRAIN.DECAY 0.2"])
    assert_refused(cli("-resume", trunk, "--anneal", "-output", trunk), 2, ["the run itself", "another -output"])
    assert_refused(cli("-data_path", data, *end), 2, ["ends another run", "-resume"])
    fallen = planned / "checkpoints/step_00000009"
    assert_refused(cli("-resume", fallen, *end), 2, ["of epoch 3 is at", "not at the peak", "step_NUMBER"])
    drifted = ["-resume", trunk, "TRAIN.DECAY", 0.5, "TRAIN.ANNEAL", 6, "-output", tmp_path / "end"]
    assert_refused(cli(*drifted), 4, ["TRAIN.ANNEAL was 0, is 6"])
    assert not (tmp_path / "end/checkpoints").exists() or not list((tmp_path / "end/checkpoints").iterdir())


def test_what_still_warms_up_is_not_annealed():
    values = {"TRAIN.SCHEDULE": "wsd", "TRAIN.WARMUP_EPOCHS": 2, "TRAIN.NUM_EPOCHS": 9}
    ends, saved = (RECIPE.load(None, values | {"TRAIN.ANNEAL": step}) for step in (3, 0))
    plan = plan_of(ends, steps_per_epoch=3)
    trainer = SimpleNamespace(plan=plan, config=to_dict(ends), lr_at=schedule_of(ends, plan))
    with pytest.raises(ConfigError, match=r"of epoch 1 is at .* between warm-up and fall"):
        note_schedule(trainer, State(3, config=to_dict(saved)))


def test_a_cosine_is_not_annealed(data, cli, tmp_path):
    words = [*PRETRAIN.tiny, "-batch_size", 8, "-data_path", data, "TRAIN.NUM_EPOCHS", 1]
    assert cli(*words, "-output", tmp_path / "run").returncode == 0
    refused = cli("-resume", tmp_path / "run", "--anneal")
    assert_refused(refused, 2, ["of 'cosine'", "TRAIN.NUM_EPOCHS"])


def test_a_longer_trunk_goes_on_at_its_peak():
    values = {"TRAIN.SCHEDULE": "wsd", "TRAIN.WARMUP_EPOCHS": 1, "TRAIN.NUM_EPOCHS": 10, "TRAIN.DECAY": 0.0}
    config = RECIPE.load(None, values)
    rate = schedule_of(config, plan_of(config, 7))
    assert rate(9.99) == rate(10.0) == rate(1.0) == 1.5e-4
