"""Whole runs on real JPEG files, from the outside."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stage_runs import PRETRAIN, assert_refused, assert_same, records, weights

from mae_core.cli import main as weights_main

TINY = PRETRAIN.tiny


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run as the predecessor's README prints it but for -amp, shrunk by KEY VALUE pairs."""
    run = tmp_path_factory.mktemp("finished") / "run"
    result = PRETRAIN.start(
        "-cfg=./configs/vit_base_patch16_224_pretrain.yaml", "-dataset=imagenet2012", "-batch_size=8",
        f"-data_path={data}", f"-output={run}", *TINY,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def test_the_predecessors_command_trains(finished):
    run, out = finished
    assert re.search(r"batch 8 x 1 ranks x 1 = 8", out)
    assert re.search(r"step 9/9 loss \d+\.\d+ lr .* images/s data wait .* eta 0:00:00", out)
    assert "done: 9 steps" in out
    lines = records(run)
    assert [r["step"] for r in lines] == list(range(1, 10))  # REPORT_FREQ 2 would leave the curve five points
    assert all(np.isfinite(r["loss"]) for r in lines)
    assert lines[1]["lr"] == pytest.approx(1.5e-4 * 8 / 256 * (1 / 3))  # the step before had epoch 1/3 of warm-up
    assert "MASK_RATIO: 0.75" in (run / "config.yaml").read_text()
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step_00000006", "step_00000009"]
    state = json.loads((run / "checkpoints/step_00000009/state.json").read_text())
    assert state["config"]["DATA"]["BATCH_SIZE"] == 8


def test_amp_trains_and_a_run_may_go_on_in_another_precision(data, finished, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, *TINY]
    amp = cli(*args, "-amp", "-output", tmp_path / "amp")
    assert amp.returncode == 0, amp.stderr
    assert re.search(r"precision: (bfloat16 in matrix products|float32 \(-amp asked for bfloat16: .+\))\n", amp.stdout)
    losses, plain = ([r["loss"] for r in records(run)] for run in (tmp_path / "amp", finished[0]))
    assert losses == pytest.approx(plain, abs=1e-2)
    assert (losses == plain) == ("precision: float32" in amp.stdout)
    longer = [*args, "-amp", "-resume", finished[0], "-output", tmp_path / "on", "TRAIN.NUM_EPOCHS", 4]
    refused = cli(*longer, "--allow-drift", "TRAIN.NUM_EPOCHS")
    assert refused.returncode == 4
    assert "AMP was False, is True" in refused.stderr
    allowed = cli(*longer, "--allow-drift", "TRAIN.NUM_EPOCHS", "--allow-drift", "AMP")
    assert allowed.returncode == 0, allowed.stderr
    refused = cli(*args, "-amp", "-output", tmp_path / "half", "AMP_DTYPE", "float16")
    assert refused.returncode == 2
    assert "AMP_DTYPE=float16 needs a GPU" in refused.stderr
    scored = cli("-eval", "-amp", "-data_path", data, *TINY, "-pretrained", tmp_path / "amp")
    assert scored.returncode == 0, scored.stderr


def test_mask_ratio_and_seed_reach_the_run(data, finished, cli, tmp_path):
    def losses(name, *pairs):
        given = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / name]
        assert cli(*given, *TINY, *pairs).returncode == 0
        return [r["loss"] for r in records(tmp_path / name)]

    same = losses("same")
    assert same == [r["loss"] for r in records(finished[0])]
    assert losses("ratio", "MODEL.MASK_RATIO", 0.5) != same
    assert losses("seed", "SEED", 1) != same


def test_greyscale_and_non_square_images_train_under_block_masks(data, cli, tmp_path):
    pairs = ["DATA.IMAGE_SIZE", "[16, 24]", "DATA.IMAGE_CHANNELS", 1, "TRAIN.GRAD_CLIP", 1, "MODEL.MASKING", "block"]
    result = cli("-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, *pairs)
    assert result.returncode == 0, result.stderr
    assert weights(tmp_path / "run")[1]["pos_embed"].shape == (1, 1 + 4 * 6, 16)
    picture = tmp_path / "grid.png"
    result = cli("visualize", "-pretrained", tmp_path / "run", "-output", picture, data / "val/class 0/a 0.jpg")
    assert result.returncode == 0, result.stderr
    assert picture.exists()


@pytest.mark.parametrize(
    ("workers", "number", "code"), [(0, signal.SIGUSR1, 75), (0, signal.SIGHUP, 143), (2, signal.SIGTERM, 143)]
)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(data, finished, cli, tmp_path, workers, number, code):
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, "DATA.NUM_WORKERS", workers,
            "REPORT_FREQ", 1]  # fmt: skip
    process = PRETRAIN.begin(*args)
    for line in process.stdout:
        if " step " in line:  # any step: the loop is deterministic at each
            process.send_signal(number)
            break
    started = time.perf_counter()
    _, stderr = process.communicate(timeout=60)
    assert time.perf_counter() - started < 10
    if process.returncode == code:
        assert f"; resume with -resume {tmp_path / 'run'}\n" in stderr
    else:
        assert process.returncode == 0  # the signal came after the last step
    refused = cli(*args)
    assert refused.returncode == 2
    assert f"-resume {tmp_path / 'run'}" in refused.stderr
    resumed = cli(*args, "-resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stdout
    assert_same(finished[0], tmp_path / "run")


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc (Linux)")
@pytest.mark.parametrize("asked", [True, False], ids=["SIGTERM", "timeout"])
def test_stopped_workers_neither_hold_a_run_nor_lose_it(data, finished, cli, tmp_path, asked):
    """As with a mount that is dead: the run ends on a signal, or by itself in time, and what was trained is kept."""
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, "DATA.NUM_WORKERS", 2,
            "REPORT_FREQ", 1]  # fmt: skip
    timeout = ["DATA.TIMEOUT", 0 if asked else 2]
    process = PRETRAIN.begin(*args, *timeout)
    for line in process.stdout:
        if " step " in line:
            break
    for worker in children(process.pid):
        os.kill(worker, signal.SIGSTOP)
    started = time.perf_counter()
    if asked:
        process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert time.perf_counter() - started < 12
    if process.returncode == 0:  # all batches had been read ahead
        assert_same(finished[0], tmp_path / "run")
        return
    assert process.returncode == (143 if asked else 3)
    if not asked:
        assert re.search(r"loader worker \d \(pid \d+\) gave no batch for \d seconds \(it is stopped\)", stderr)
        assert stderr.rstrip().endswith("or raise DATA.TIMEOUT")
    resumed = cli(*args, "-resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stdout
    assert_same(finished[0], tmp_path / "run")


def test_killed_again_and_again_and_resumed_equals_uninterrupted(data, finished, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, "REPORT_FREQ", 1]

    for lines in (1, 3, 4, 2):  # SIGKILL as soon as so many steps are reported: within a step or within a save
        process = PRETRAIN.begin(*args, "-resume", "auto", stderr=subprocess.DEVNULL)
        for line in process.stdout:
            lines -= " step " in line
            if not lines:
                break
        process.kill()
        process.communicate()
    result = cli(*args, "-resume", "auto")
    assert result.returncode == 0, result.stderr
    assert_same(finished[0], tmp_path / "run")


def test_resume_refuses_another_config_and_names_the_keys(data, finished, cli, tmp_path):
    args = ["-data_path", data, "-output", tmp_path / "other", "-resume", finished[0], *TINY]
    result = cli(*args, "-batch_size", 8, "MODEL.MASK_RATIO", 0.5, "TRAIN.BASE_LR", 1e-3)
    assert result.returncode == 4
    assert "MODEL.MASK_RATIO was 0.75, is 0.5" in result.stderr
    assert "TRAIN.BASE_LR was 0.00015, is 0.001" in result.stderr
    result = cli(*args, "-batch_size", 4)
    assert result.returncode == 4
    assert "DATA.BATCH_SIZE (global batch) was 8, is 4" in result.stderr
    longer = cli(*args, "-batch_size", 8, "TRAIN.NUM_EPOCHS", 4, "--allow-drift", "TRAIN.NUM_EPOCHS")
    assert longer.returncode == 0, longer.stderr
    assert weights(tmp_path / "other")[0] == "step_00000012"


def test_resume_refuses_an_edited_list(data, finished, cli, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    lines = (copy / "train_list.txt").read_text().splitlines(keepends=True)
    (copy / "train_list.txt").write_text("".join([*lines[1:], lines[0]]))
    args = ["-data_path", copy, "-output", tmp_path / "other", "-resume", finished[0], "-batch_size", 8, *TINY]
    result = cli(*args)
    assert result.returncode == 4
    assert "DATA.TRAIN_LIST (SHA-256 of names, order and labels) was" in result.stderr
    (copy / "train_list.txt").write_text("".join([*lines, lines[0]]))
    result = cli(*args)
    assert result.returncode == 4
    assert f"DATA.TRAIN_LIST (images) was {len(lines)}, is {len(lines) + 1}" in result.stderr
    allowed = cli(*args, "--allow-drift", "DATA.TRAIN_LIST")
    assert allowed.returncode == 0, allowed.stderr
    assert f"1 of {len(lines) + 1} entries repeat the path of an earlier one" in allowed.stdout


def test_a_folder_without_lists_is_enough(data, cli, tmp_path):
    """As a new user gives it: photographs in any subfolder."""
    shutil.copytree(data / "train", tmp_path / "photos" / "deep")
    result = cli("-batch_size", 8, "-data_path", tmp_path / "photos", "-output", tmp_path / "run", *TINY)
    assert result.returncode == 0, result.stderr
    assert "photos: no train_list.txt, so what lies in it counts: " in result.stdout
    scored = cli("-eval", "-pretrained", tmp_path / "run", "-data_path", tmp_path / "photos", *TINY)
    assert scored.returncode == 0, scored.stderr
    assert "no val/ folder, so these are the images of training" in scored.stdout


def test_paths_out_of_the_folder_are_refused_by_key_before_weights_are_loaded(data, finished, cli, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    (copy / "val_list.txt").write_text(f"../data/{(copy / 'val_list.txt').read_text()}")
    args = ["-eval", "-data_path", copy, *TINY, "-pretrained", finished[0]]
    result = cli(*args)
    assert result.returncode == 3
    assert result.stderr.strip().endswith("or opt in with DATA.ALLOW_OUTSIDE True")
    assert "weights: " not in result.stdout  # the line that loading writes
    allowed = cli(*args, "DATA.ALLOW_OUTSIDE", True)
    assert allowed.returncode == 0, allowed.stderr
    assert "weights: " in allowed.stdout


def test_accumulation_gives_the_weights_of_the_joined_batch(data, finished, cli, tmp_path):
    result = cli("-batch_size", 4, "-accum_iter", 2, "-data_path", data, "-output", tmp_path / "run", *TINY)
    assert result.returncode == 0, result.stderr
    assert "batch 4 x 1 ranks x 2 = 8" in result.stdout
    assert_same(finished[0], tmp_path / "run", atol=2e-7)


@pytest.mark.parametrize(("batch_size", "accum_iter"), [(4, 1), (2, 2)])
def test_two_ranks_give_the_weights_of_one_process(data, finished, tmp_path, batch_size, accum_iter):
    args = ["-batch_size", batch_size, "-accum_iter", accum_iter, "-data_path", data, "-output", tmp_path / "run"]
    logs = PRETRAIN.launch(*args, *TINY)
    assert f"batch {batch_size} x 2 ranks x {accum_iter} = 8" in logs
    assert_same(finished[0], tmp_path / "run", atol=2e-7)


def test_evaluation_is_exact_and_sees_every_image(data, finished, cli):
    run, _ = finished
    outputs = [
        cli("-eval", "-pretrained", run, "-data_path", data, "-batch_size", size, *TINY).stdout for size in (7, 2)
    ]
    figures = [
        [float(x) for x in re.findall(r"(?:loss|MAE|mean alone|inpainting|mean image) (\d+\.\d+)", out)]
        for out in outputs
    ]
    assert all("7 images" in out for out in outputs)
    assert len(figures[0]) == 5
    np.testing.assert_allclose(figures[0], figures[1], atol=1e-4)


def test_visualize_and_curve_write_pictures(data, finished, cli, tmp_path):
    run, _ = finished
    files = [data / "val/class 0/a 0.jpg", data / "val/class 1/a 1.jpg"]
    result = cli("visualize", "-pretrained", run, "-output", tmp_path / "new folder" / "grid.png", *files)
    assert result.returncode == 0, result.stderr
    with Image.open(result.stdout.strip()) as grid:
        assert grid.format == "PNG"
        assert grid.height > 2 * 128
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    result = cli("curve", run, "-output", tmp_path / "loss.png")
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "loss.png") as curve:
        assert curve.width == 960


def test_scores_and_pictures_need_the_target_of_the_weights(data, finished, cli, tmp_path):
    """Training goes on with another target."""
    file = tmp_path / "mae_visualize_tiny.pth"
    assert weights_main(["convert", str(finished[0]), str(file)]) == 0
    image, picture = data / "val/class 0/a 0.jpg", tmp_path / "grid.png"
    config = tmp_path / "tiny.yaml"
    sets = [word for i in range(0, len(TINY), 2) for word in ("--set", *TINY[i : i + 2])]
    config.write_text("MODEL: {NAME: tiny}\n")
    scoring = ["-eval", "-pretrained", file, "-data_path", data, *TINY]
    drawing = ["visualize", "-cfg", config, "-pretrained", file, "-output", picture, image, *sets]
    normalised = ("MODEL.NORM_PIX_LOSS", "True")
    for words in ([*scoring, *normalised], [*drawing, "--set", *normalised]):
        assert_refused(cli(*words), 4, ["norm_pix_loss is False", "set norm_pix_loss to False"])
    assert not picture.exists()
    for words in (scoring, drawing):  # nothing stated: as the weights
        result = cli(*words)
        assert result.returncode == 0, result.stderr
    assert picture.exists()
    short = ["TRAIN.NUM_EPOCHS", 1, "TRAIN.WARMUP_EPOCHS", 0]
    result = cli("-batch_size", 8, "-pretrained", file, "-data_path", data, "-output", tmp_path / "on", *TINY, *short)
    assert result.returncode == 0, result.stderr


def test_unreadable_image_ends_the_run_by_name_or_is_skipped(data, cli, tmp_path):
    (tmp_path / "train").mkdir()
    for i, source in enumerate(sorted((data / "train").rglob("*.jpg"))[:9]):
        content = source.read_bytes()
        (tmp_path / "train" / f"{i}.jpg").write_bytes(content[:200] if i == 4 else content)
    (tmp_path / "train_list.txt").write_text("".join(f"train/{i}.jpg\n" for i in range(9)))
    args = ["-batch_size", 8, "-data_path", tmp_path, *TINY]
    result = cli(*args, "-output", tmp_path / "a", "DATA.ON_ERROR", "raise")
    assert result.returncode == 3
    assert "train/4.jpg" in result.stderr
    assert "train_list.txt:5" in result.stderr
    verify = f"`mae-data verify {tmp_path} --channels 3 --value-range 255`"
    assert f"{verify} finds all such images" in result.stderr
    result = cli(*args, "-output", tmp_path / "b", "DATA.NUM_WORKERS", 2)
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert re.search(rf"skipped: .*train/4.jpg.*{verify} lists all such", said)
    assert re.search(r"1 of 9 images could not be used and were skipped.*\n.*train_list.txt:5 \(train/4.jpg\)", said)
    card = (tmp_path / "b/MODEL_CARD.md").read_text()
    assert f"\n- 1 of 9 images could not be used and were skipped; {verify} shows why\n" in card
    scoring = ["-eval", "-pretrained", tmp_path / "b", "-data_path", tmp_path]
    (tmp_path / "val_list.txt").write_text("train/0.jpg\n")
    result = cli(*scoring)  # the mean training image is of the others
    assert result.returncode == 0, result.stderr
    assert "mean image" in result.stdout
    (tmp_path / "val_list.txt").write_text("train/4.jpg\n")
    assert_refused(cli(*scoring), 3, ["val_list.txt:1", "evaluation never skips"])


def test_repeated_images_train_and_do_not_depend_on_workers(data, finished, cli, tmp_path):
    """DATA.REPEATS is another course than without it."""
    args = ["-batch_size", 8, "-data_path", data, *TINY, "DATA.REPEATS", 4]
    for workers in (0, 2):
        result = cli(*args, "-output", tmp_path / str(workers), "DATA.NUM_WORKERS", workers)
        assert result.returncode == 0, result.stderr
    assert_same(tmp_path / "0", tmp_path / "2")
    losses = [[r["loss"] for r in records(run)] for run in (tmp_path / "0", finished[0])]
    assert len(losses[0]) == len(losses[1])
    assert losses[0] != losses[1]
    refused = cli(*args, "DATA.REPEATS", 3)
    assert_refused(refused, 2, ["DATA.REPEATS=3 does not divide DATA.BATCH_SIZE=8; use a divisor of it"])
