"""Whole runs of `mae-pretrain distill`, from the outside."""

import re
import shutil
import signal

import numpy as np
import pytest
from stage_runs import PRETRAIN, assert_refused, assert_same, end_in_step, records, weights

import mae_core
from mae_pretrain.config import RECIPE as PRETRAINING
from mae_pretrain.distill.config import RECIPE

_STUDENT = {"EMBED_DIM": 8, "DEPTH": 1, "NUM_HEADS": 1}
_DECODER = {"EMBED_DIM": 8, "DEPTH": 1, "NUM_HEADS": 2}
_SETTINGS = {
    "DATA.NUM_WORKERS": 0, "TRAIN.NUM_EPOCHS": 3, "TRAIN.WARMUP_EPOCHS": 1, "TRAIN.BASE_LR": 0.05, "REPORT_FREQ": 1,
    **{f"MODEL.ENCODER.{key}": value for key, value in _STUDENT.items()},
    **{f"MODEL.DECODER.{key}": value for key, value in _DECODER.items()},
}  # fmt: skip
TINY = [str(word) for pair in _SETTINGS.items() for word in pair]
FILES = ("model", "optimizer")


@pytest.fixture(scope="module")
def finished(data, pretrained, tmp_path_factory):
    run = tmp_path_factory.mktemp("distilled") / "run"
    result = PRETRAIN.start(
        "distill", "-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", run, *TINY
    )
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def test_a_run_distils(finished, pretrained):
    """Images are read and cut as the teacher's; the student's sizes are its own."""
    run, out = finished
    assert f"from {pretrained}: " in out
    assert "MODEL.PATCH_SIZE 4" in out
    assert "DATA.IMAGE_SIZE [16, 24]" in out
    lines = records(run)
    assert [line["step"] for line in lines] == list(range(1, 10))
    for line in lines:
        assert line["loss"] == pytest.approx(line["pixel_loss"] + line["attention_distance"], rel=1e-5)
        assert line["attention_distance"] > 0
    end = weights(run)[1]
    assert end["distillation.weight"].shape == (1, 2)  # from one head to two
    assert end["pos_embed"].shape == (1, 25, 8)


def test_without_its_weight_it_is_pre_training(data, pretrained, cli, tmp_path):
    shared = ["-data_path", data, "-batch_size", 8, *TINY]
    taught = cli("distill", "-pretrained", pretrained, *shared, "-output", tmp_path / "taught", "TRAIN.ATTENTION", 0)
    assert taught.returncode == 0, taught.stderr
    sizes = ["DATA.IMAGE_SIZE", "[16, 24]", "MODEL.PATCH_SIZE", 4]
    assert cli(*shared, *sizes, "-output", tmp_path / "plain").returncode == 0
    ours, plain = (weights(tmp_path / name)[1] for name in ("taught", "plain"))
    assert ours.keys() - plain.keys() == {"distillation.weight"}
    for name, value in plain.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.parametrize(("workers", "number", "code"), [(0, signal.SIGUSR1, 75), (2, signal.SIGKILL, -9)])
def test_ended_and_resumed_equals_uninterrupted_bit_for_bit(
    data, pretrained, finished, cli, tmp_path, workers, number, code
):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run", *TINY]
    process = PRETRAIN.begin("distill", *args, "DATA.NUM_WORKERS", workers)
    assert end_in_step(process, 7, number) == code  # past the checkpoint of step 6
    resumed = cli("distill", "-resume", tmp_path / "run", "DATA.NUM_WORKERS", workers)  # it knows its teacher
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resumed from .* at step [3678]\n", resumed.stdout)  # 3: that of step 6 was being written
    for file in FILES:
        assert_same(finished[0], tmp_path / "run", file=file)


def test_a_resumed_run_keeps_its_teacher_wherever_that_lies(pretrained, finished, cli, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    shutil.rmtree(run / "checkpoints/step_00000009")
    shutil.copytree(pretrained, tmp_path / "moved")
    other = cli("distill", "-resume", run, "-pretrained", finished[0])
    assert_refused(other, 4, ["MODEL.TEACHER (SHA-256 of its weights) was", "--allow-drift MODEL.TEACHER"])
    resumed = cli("distill", "-resume", run, "-pretrained", tmp_path / "moved")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(finished[0], run)


def test_a_student_begins_where_it_is_told(data, pretrained, finished, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run"]
    result = cli("distill", *args, *TINY, "MODEL.PRETRAINED", finished[0])
    assert result.returncode == 0, result.stderr
    anew, further = (records(run)[0]["pixel_loss"] for run in (finished[0], tmp_path / "run"))
    assert further < anew
    assert further == pytest.approx(records(finished[0])[-1]["pixel_loss"], rel=0.1)


def test_two_ranks_give_the_weights_of_one_process(data, pretrained, finished, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 4, "-output", tmp_path / "run", *TINY]
    assert "batch 4 x 2 ranks x 1 = 8" in PRETRAIN.launch("distill", *args)
    assert_same(finished[0], tmp_path / "run", atol=1e-4)


def test_every_reader_takes_a_distilled_run(data, finished, cli, tmp_path):
    """As any masked autoencoder: what compared it with its teacher is not seen."""
    run, _ = finished
    assert type(mae_core.load(run)).__name__ == "MaskedAutoencoderViT"
    scored = cli("-eval", "-pretrained", run, "-data_path", data, "-output", tmp_path / "eval")
    assert scored.returncode == 0, scored.stderr
    image = next((data / "val").rglob("*.jpg"))
    drawn = cli("visualize", "-pretrained", run, "-output", tmp_path / "grid.png", image)
    assert drawn.returncode == 0, drawn.stderr
    page = cli("report", run, "-output", tmp_path / "page.html")
    assert page.returncode == 0, page.stderr
    further = cli("-pretrained", run, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "on", *TINY)
    assert further.returncode == 0, further.stderr
    again = cli("distill", "-pretrained", run, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "x", *TINY)
    assert again.returncode == 0, again.stderr


def test_looks_score_it_and_change_nothing(data, pretrained, finished, cli, tmp_path):
    run = tmp_path / "run"
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", run]
    assert cli("distill", *args, *TINY, "MONITOR.EVERY", 2).returncode == 0
    looks = [line for line in records(run) if line["kind"] == "validation"]
    assert {"val_loss", "rankme", "knn_top1"} <= looks[0].keys()
    for file in FILES:
        assert_same(finished[0], run, file=file)


def test_amp_distils(data, pretrained, finished, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run", "-amp"]
    result = cli("distill", *args, *TINY)
    assert result.returncode == 0, result.stderr
    losses, plain = ([line["loss"] for line in records(run)] for run in (tmp_path / "run", finished[0]))
    assert losses == pytest.approx(plain, rel=0.05)
    assert (losses == plain) == ("precision: float32" in result.stdout)


def test_a_dry_run_opens_the_teacher_and_writes_nothing(data, pretrained, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, *TINY, "--dry-run"]
    result = PRETRAIN.start("distill", *args, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "output: runs/distill-001" in result.stdout
    assert "nothing was written (--dry-run)" in result.stdout
    assert not list(tmp_path.iterdir())


def test_bad_input_is_refused_in_a_line(data, pretrained, finished, cli, tmp_path):
    args = ["distill", "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run", *TINY]
    taught = [*args, "-pretrained", pretrained]
    assert_refused(cli("distill", "-data_path", data), 2, ["distill learns from a finished model: -pretrained RUN"])
    assert_refused(cli(*args, "-pretrained", data), 4, [str(data), "holds no weights"])
    sizes = ["sees 16x24 pixels of 3 channels in patches of 4, the student"]
    assert_refused(cli(*taught, "-image_size", "16x32"), 2, [*sizes, "16x32 pixels"])
    assert_refused(cli(*taught, "MODEL.PATCH_SIZE", 8), 2, [*sizes, "in patches of 8"])
    assert_refused(cli(*taught, "DATA.IMAGE_CHANNELS", 1), 2, [*sizes, "of 1 channels"])
    assert_refused(cli(*taught, "MODEL.ENCODER.NUM_HEADS", 3), 2, ["8", "3"])
    assert_refused(cli(*taught, "EVAL", True), 2, ["distill scores nothing"])
    assert_refused(cli(*taught, "TRAIN.ATTENTION", -1), 2, ["TRAIN.ATTENTION=-1"])
    assert_refused(cli(*args, "-resume", pretrained), 2, ["another stage (PRETRAIN, not DISTILL)"])
    assert_refused(cli("-resume", finished[0]), 2, ["another stage (DISTILL, not PRETRAIN)"])


def test_all_other_keys_are_those_of_pre_training():
    """They arrive by the same way, which test_pretrain_wiring.py follows."""
    own = {"MODEL.TYPE", "MODEL.TEACHER", "MODEL.PRETRAINED", "TRAIN.ATTENTION"}
    assert RECIPE.keys.keys() - PRETRAINING.keys.keys() == {"MODEL.TEACHER", "TRAIN.ATTENTION"}
    assert {name for name, key in PRETRAINING.keys.items() if RECIPE.keys[name] != key} <= own


def test_the_packaged_config_is_the_published_student():
    config = RECIPE.load("vit_tiny_patch16_224_distill")
    assert config.MODEL.NAME == "vit_width192_depth12_heads12_patch16_224"
    assert (config.TRAIN.NUM_EPOCHS, config.TRAIN.ATTENTION, config.TRAIN.BASE_LR) == (400, 1.0, 1.5e-4)
