"""Whole runs of `mae-pretrain refine`, from the outside."""

import json
import re
import signal

import numpy as np
import pytest
from stage_runs import PRETRAIN, assert_refused, assert_same, end_in_step, records, weights

import mae_core

_HEADS = {"NUMBER": 1, "DIM": 6, "PROJECTOR_DIM": 8, "PREDICTOR_DIM": 8, "QUEUE": 20, "NEIGHBOURS": 3}
_SETTINGS = {
    "DATA.IMAGE_SIZE": "[16, 24]", "DATA.NUM_WORKERS": 0, "TRAIN.NUM_EPOCHS": 3, "TRAIN.HEADS_EPOCHS": 1,
    "TRAIN.WARMUP_EPOCHS": 1, "TRAIN.BASE_LR": 0.4, "TRAIN.HEADS_LR": 0.4, "TRAIN.EMA": 0.9, "REPORT_FREQ": 1,
    **{f"MODEL.HEADS.{key}": value for key, value in _HEADS.items()},
}  # fmt: skip
TINY = [str(word) for pair in _SETTINGS.items() for word in pair]
FILES = ("model", "ema", "optimizer")


@pytest.fixture(scope="module")
def finished(data, pretrained, tmp_path_factory):
    run = tmp_path_factory.mktemp("refined") / "run"
    result = PRETRAIN.start(
        "refine", "-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", run, *TINY
    )
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def test_a_run_refines_in_two_stages(finished, pretrained):
    run, out = finished
    assert "the decoder is left out, as meant" in out
    assert "TRAIN.EMA=0.9: after 9 steps the averages, which are the result, are still 39% the weights" in out
    lines = records(run)
    assert [line["step"] for line in lines] == list(range(1, 10))
    rates = [line["lr"] for line in lines]
    assert rates[0] == rates[3] == 0  # each stage warms up
    assert rates[4] == pytest.approx(0.4 * 8 / 1024 / 3)
    assert all(np.isfinite(line["loss"]) for line in lines)
    start = weights(pretrained)[1]
    for file in ("model", "ema"):
        end = weights(run, file)[1]
        assert not np.array_equal(end["blocks.0.attn.qkv.weight"], start["blocks.0.attn.qkv.weight"]), file
        np.testing.assert_array_equal(end["pos_embed"], start["pos_embed"])


def test_its_page_asks_for_no_decoder(finished, cli):
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    run, _ = finished
    result = cli("report", run)
    assert result.returncode == 0, result.stderr
    page = (run / "report.html").read_text()
    assert ", refined. Trained to its end, step 9" in page
    assert "loss of the heads" in page
    for words in ("Reconstructions", 'class="command"', "patches removed"):
        assert words not in page


def test_only_heads_change_in_the_first_stage(data, pretrained, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run"]
    result = cli("refine", *args, *TINY, "TRAIN.NUM_EPOCHS", 1, "TRAIN.WARMUP_EPOCHS", 0)
    assert result.returncode == 0, result.stderr
    end, start = weights(tmp_path / "run")[1], weights(pretrained)[1]
    encoder = [name for name in end if not name.startswith("head.")]
    assert encoder
    for name in encoder:
        np.testing.assert_array_equal(end[name], start[name], err_msg=name)
    queued = end["head.block_1.queued"]
    assert len(set(queued)) == len(queued) == 20  # of the 24 images of the only epoch, each once
    np.testing.assert_allclose(np.linalg.norm(end["head.block_1.queue"], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("workers", "number", "code"), [(0, signal.SIGUSR1, 75), (2, signal.SIGKILL, -9)])
def test_ended_and_resumed_equals_uninterrupted_bit_for_bit(
    data, pretrained, finished, cli, tmp_path, workers, number, code
):
    """A checkpoint of the second stage holds all that the rest depends on."""
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run", *TINY]
    process = PRETRAIN.begin("refine", *args, "DATA.NUM_WORKERS", workers)
    assert end_in_step(process, 7, number) == code  # past the checkpoint of step 6
    resumed = cli("refine", *args, "-resume", "auto", "DATA.NUM_WORKERS", workers)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resumed from .* at step [3678]\n", resumed.stdout)  # 3: that of step 6 was being written
    for file in FILES:
        assert_same(finished[0], tmp_path / "run", file=file)


def test_two_ranks_share_the_queue_and_give_the_weights_of_one_process(data, pretrained, finished, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 4, "-output", tmp_path / "run", *TINY]
    logs = PRETRAIN.launch("refine", *args)
    assert "batch 4 x 2 ranks x 1 = 8" in logs
    one, two = (weights(run)[1] for run in (finished[0], tmp_path / "run"))
    np.testing.assert_array_equal(two["head.block_1.queued"], one["head.block_1.queued"])
    assert_same(finished[0], tmp_path / "run", atol=1e-4)


def test_every_reader_of_an_encoder_takes_a_refined_run(data, finished, cli, tmp_path):
    run, _ = finished
    assert type(mae_core.load(run)).__name__ == "VisionTransformer"
    again = cli(
        "refine", "-pretrained", run, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "again", *TINY
    )
    assert again.returncode == 0, again.stderr
    state = json.loads((run / "checkpoints/step_00000009/state.json").read_text())
    assert state["config"]["MODEL"]["TYPE"] == "REFINE"


def test_what_needs_a_decoder_says_so(data, finished, cli, tmp_path):
    run, image = finished[0], next((data / "val").rglob("*.jpg"))
    said = ["ema.safetensors has no decoder, which", "needs: name a pre-training run; mae-probe knn scores features"]
    for words in (["-eval", "-data_path", data], ["visualize", image], ["export", "--with-decoder"]):
        assert_refused(cli(*words, "-pretrained", run, "-output", tmp_path / "out"), 4, said)


def test_looks_score_the_features_and_change_nothing(data, pretrained, finished, cli, tmp_path):
    run = tmp_path / "run"
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", run]
    result = cli("refine", *args, *TINY, "MONITOR.EVERY", 2, "MODEL.MASK_RATIO", 0)
    assert result.returncode == 0, result.stderr
    looks = [line for line in records(run) if line["kind"] == "validation"]
    assert [line["step"] for line in looks] == [6, 9]
    assert {"rankme", "knn_top1", "knn_whitened_top1", "knn_random_init", "knn_raw_pixels"} <= looks[0].keys()
    assert "val_loss" not in looks[0]
    for file in FILES:
        assert_same(finished[0], run, file=file)


def test_a_dry_run_names_the_higher_rate_of_both_stages(data, pretrained, cli):
    result = cli("refine", "-pretrained", pretrained, "-data_path", data, "-batch_size", 8, *TINY, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "steps: 9 of 8 images, 3 per epoch, 3 epochs; learning rate 0.00313 at its highest" in result.stdout


def test_bad_input_is_refused_in_a_line(data, pretrained, finished, cli, tmp_path):
    args = ["refine", "-data_path", data, "-output", tmp_path / "run", *TINY]
    assert_refused(cli("refine", "-data_path", data), 2, ["refine begins with a finished model: -pretrained RUN"])
    assert_refused(cli(*args, "-pretrained", pretrained, "-batch_size", 1), 2, ["DATA.BATCH_SIZE=1", "2 or more"])
    assert_refused(cli(*args, "-pretrained", pretrained, "-batch_size", 27), 3, ["26 images are fewer than", "27"])
    assert_refused(cli(*args, "-pretrained", data), 4, [str(data), "holds no weights"])
    assert_refused(cli(*args, "-pretrained", pretrained, "TRAIN.HEADS_EPOCHS", 4), 2, ["counts both stages"])
    assert_refused(cli(*args, "-pretrained", pretrained, "MODEL.HEADS.NUMBER", 3), 2, ["a number of blocks up to 2"])
    assert_refused(cli(*args, "-resume", pretrained), 2, ["another stage (PRETRAIN, not REFINE)"])
    cut = ["-batch_size", 4, "-accum_iter", 2, "-resume", finished[0], "TRAIN.NUM_EPOCHS", 4]
    assert_refused(cli(*args, *cut), 4, ["DATA.BATCH_SIZE was 8, is 4"])


def test_amp_refines(data, pretrained, finished, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "-output", tmp_path / "run", "-amp"]
    result = cli("refine", *args, *TINY)
    assert result.returncode == 0, result.stderr
    losses, plain = ([line["loss"] for line in records(run)] for run in (tmp_path / "run", finished[0]))
    assert losses[0] == pytest.approx(plain[0], rel=0.05)  # later on, other neighbours are the nearest in bfloat16
    assert np.isfinite(losses).all()
    assert (losses == plain) == ("precision: float32" in result.stdout)
