"""Begin, resume, and what a resumed run may change."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

import mae_core  # noqa: F401
from mae_core.errors import CheckpointError, ConfigError
from mae_core.stage.run.lifecycle import begin, fit, log_run, open_run
from mae_core.training.checkpoints.checkpoint import update_state
from mae_core.training.engine import Trainer
from mae_core.training.optim import Ema, build_adamw
from mae_core.training.plan import Plan
from mae_core.training.precision import Precision
from mae_core.weights.checkpoint_folder import list_checkpoints, newest_checkpoint, open_checkpoint, open_weights


def make(folder, batch_size=4, accum_iter=1, lr=0.1, data=None):
    model = paddle.nn.Linear(2, 1)
    return Trainer(
        model=model,
        optimizer=build_adamw(model),
        loss_fn=lambda model, batch, epoch: (model(batch.images).square().mean(), {}),
        lr_at=lambda epoch: lr,
        plan=Plan(steps_per_epoch=2, total_steps=4, batch_size=batch_size, accum_iter=accum_iter),
        precision=Precision(False),
        folder=folder,
        config={"DATA": {"BATCH_SIZE": batch_size}, "TRAIN": {"ACCUM_ITER": accum_iter, "LR": lr}, "SAVE": "x"},
        data=data or {},
    )


def auto(output):
    """What `-resume auto` gives `begin`."""
    there = list_checkpoints(Path(output) / "checkpoints")
    return {**named(output), "resume": "auto"} if there else {"resume": "auto"}


def named(source):
    """What `-resume SOURCE` gives `begin`."""
    path = Path(source)
    found = open_checkpoint(path) if (path / "state.json").exists() else newest_checkpoint(path / "checkpoints", print)
    return {"resume": source, "checkpoint": found}


def batches():
    return (SimpleNamespace(images=paddle.ones([4, 2]), indices=paddle.arange(4)) for _ in range(4))


@pytest.fixture
def run(tmp_path):
    folder = open_run(str(tmp_path / "run"))
    trainer = make(folder)
    begin(trainer, output=str(folder.path))
    fit(trainer, batches(), str(folder.path))
    folder.close()
    return str(folder.path)


def test_a_finished_run_is_described_and_not_begun_twice(run, tmp_path, capsys):
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "BATCH_SIZE: 4" in config
    folder = open_run(run)
    with pytest.raises(ConfigError, match=f"go on with it \\(-resume {re.escape(run)}\\)"):
        begin(make(folder), output=run)
    trainer = make(folder)
    begin(trainer, output=run, **auto(run))
    assert trainer.step == 4
    log_run(trainer, "tiny", images=9, notes=["3 entries repeat"])
    out = capsys.readouterr().out
    assert "resumed from" in out
    assert "3 entries repeat" in out
    assert "tiny: 3 parameters; 9 images, 2 steps per epoch, 2 epochs; batch 4 x 1 ranks x 1 = 4" in out


def test_resume_auto_begins_where_there_is_nothing_to_go_on_from(run, tmp_path, capsys):
    """One command begins a run and goes on with it: a queue may start it again and again."""
    folder = open_run(str(tmp_path / "fresh"))
    trainer = make(folder)
    begin(trainer, output=str(folder.path), **auto(str(folder.path)), weights=open_weights(run))
    out = capsys.readouterr().out
    assert f"nothing to resume in {folder.path}: beginning anew" in out
    assert "weights: 2 tensors from" in out
    assert trainer.step == 0
    assert folder.config.exists()
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        begin(make(None), output=run, **named(str(folder.path)))  # named, so it must be there
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("step_*"):
        (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        begin(make(None), output=run, **auto(run))


def test_another_run_is_not_resumed_into_a_folder_that_holds_one(run, tmp_path):
    other = open_run(str(tmp_path / "other"))
    trainer = make(other)
    begin(trainer, output=str(other.path))
    fit(trainer, batches(), str(other.path))
    before = other.config.read_bytes()
    for source in (run, f"{run}/checkpoints/step_00000004"):
        with pytest.raises(ConfigError, match=r"holds a run already, and -resume .* is of another"):
            begin(make(other), output=str(other.path), **named(source))
    assert other.config.read_bytes() == before
    begin(make(other), output=str(other.path), **named(f"{other.path}/checkpoints/step_00000004"))
    begin(make(None), output=str(tmp_path / "third"), **named(run))


def test_a_checkpoint_from_before_value_ranges_is_one_of_255(run):
    folder = open_run(run)
    for value, refused in ((255, False), (65535, True)):
        trainer = make(folder)
        trainer.config["DATA"]["VALUE_RANGE"] = value
        if refused:
            with pytest.raises(CheckpointError, match=r"DATA\.VALUE_RANGE was 255, is 65535"):
                begin(trainer, output=run, **auto(run))
        else:
            begin(trainer, output=run, **auto(run))
            assert trainer.step == 4


def test_drift_is_refused_by_key_unless_free_or_allowed(run):
    with pytest.raises(CheckpointError, match=r"TRAIN\.LR was 0\.1, is 0\.2\. .*--allow-drift TRAIN\.LR$"):
        begin(make(None, lr=0.2), output=run, **auto(run), free=["SAVE"])
    begin(make(None, lr=0.2), output=run, **named(run), allow_drift=["TRAIN.LR"])
    with pytest.raises(
        CheckpointError, match=r"DATA\.BATCH_SIZE \(global batch\) was 4, is 8\. .*-drift DATA\.BATCH_SIZE$"
    ):
        begin(make(None, batch_size=8), output=run, **auto(run))
    begin(make(None, batch_size=8), output=run, **auto(run), allow_drift=["DATA.BATCH_SIZE"])


def test_other_images_are_drift_of_the_list(run, tmp_path):
    first, edited, shorter = (
        {"train": {"images": n, "sha256": 16 * h}} for n, h in ((9, "abcd"), (9, "ef01"), (8, "2"))
    )
    folder = open_run(str(tmp_path / "known"))
    trainer = make(folder, data=first)
    begin(trainer, output=str(folder.path))
    fit(trainer, batches(), str(folder.path))
    source = str(folder.path)
    begin(make(None, data=first), output=source, **auto(source))
    with pytest.raises(CheckpointError, match=r"DATA\.TRAIN_LIST \(images\) was 9, is 8"):
        begin(make(None, data=shorter), output=source, **auto(source))
    with pytest.raises(CheckpointError, match=r"DATA\.TRAIN_LIST \(SHA-256 .*\) was 'abcdabcdabcd', is 'ef01ef01ef01'"):
        begin(make(None, data=edited), output=source, **auto(source), allow_drift=["DATA.BATCH_SIZE"])
    begin(make(None, data=edited), output=source, **auto(source), allow_drift=["DATA.TRAIN_LIST"])
    begin(make(None, data=first), output=run, **auto(run))  # its checkpoints say nothing of their images


def test_a_run_of_an_older_version_goes_on_where_a_new_key_has_its_old_meaning(run):
    """The run was made before there was MODEL.MASKING."""
    for masking, refused in (("random", False), ("block", True)):
        trainer = make(None)
        trainer.config = {**trainer.config, "MODEL": {"MASKING": masking}}
        if not refused:
            begin(trainer, output=run, **auto(run))
            continue
        with pytest.raises(CheckpointError, match=r"MODEL\.MASKING was 'random', is 'block'"):
            begin(trainer, output=run, **auto(run))


def test_the_same_global_batch_may_be_cut_up_otherwise_where_that_changes_nothing(run):
    begin(make(None, batch_size=2, accum_iter=2), output=run, **auto(run))
    with pytest.raises(CheckpointError, match=r"TRAIN\.ACCUM_ITER was 1, is 2"):
        begin(make(None, batch_size=2, accum_iter=2), output=run, **auto(run), free_cut=False)


def test_weights_of_another_run_start_the_model_and_its_average(run, tmp_path, capsys):
    folder = open_run(str(tmp_path / "new"))
    trainer = make(folder)
    trainer.ema = Ema(trainer.model, 0.9)
    begin(trainer, output=str(folder.path), weights=open_weights(run))
    assert "weights: 2 tensors from" in capsys.readouterr().out
    trained = load_file(next(tmp_path.glob("run/checkpoints/*4/model.safetensors")))
    np.testing.assert_array_equal(trainer.model.weight.numpy(), trained["weight"])
    np.testing.assert_array_equal(trainer.ema.arrays()["weight"], trained["weight"])
    assert trainer.step == 0


def test_a_finished_run_that_is_resumed_says_that_nothing_was_left(run, capsys):
    folder = open_run(run)
    trainer = make(folder)
    begin(trainer, output=run, **auto(run))
    fit(trainer, iter(()), run)
    out = capsys.readouterr().out
    assert f"nothing to train: step 4 is reached and the plan has 4; checkpoints and log in {run}" in out
    assert "images/s" not in out


def test_other_threads_or_another_paddle_are_said_once(run, monkeypatch, capsys):
    begin(make(None), output=run, **auto(run))
    assert "otherwise" not in capsys.readouterr().out
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(paddle, "__version__", "9.9")
    begin(make(None), output=run, **auto(run))
    out = capsys.readouterr().out
    assert out.count("computed otherwise than before") == 1
    assert "threads '7', was" in out
    assert "paddle '9.9', was" in out


def test_a_config_of_another_program_is_refused(run, tmp_path):
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    update_state(checkpoint, {"config": {"DATA": {"BATCH_SIZE": "x"}}})
    with pytest.raises(CheckpointError, match=r"no usable DATA\.BATCH_SIZE"):
        begin(make(None), output=run, **auto(run))
