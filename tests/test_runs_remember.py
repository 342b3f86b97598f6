"""A run remembers its model: what the commands take from weights and runs, and what they refuse."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from stage_runs import FINETUNE, PRETRAIN, PROBE, Stage, assert_refused, records

from mae_core.cli import main as weights_main
from mae_core.stage.config.weight_record import record_of
from mae_core.weights.checkpoint_folder import open_weights

SHORT = ["TRAIN.NUM_EPOCHS", 1, "TRAIN.WARMUP_EPOCHS", 0, "DATA.NUM_WORKERS", 0, "-batch_size", 8]
CROP = ["DATA.CROP_PCT", 1.0]
GREY = ["DATA.IMAGE_CHANNELS", 1, "DATA.IMAGENET_MEAN", "[0.4]", "DATA.IMAGENET_STD", "[0.25]"]


def start(stage: Stage, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    return stage.start(*words, cwd=folder)


@pytest.fixture(scope="module")
def home(data, tmp_path_factory) -> Path:
    """A folder in which a small grey model was pre-trained, without a word on where to."""
    folder = tmp_path_factory.mktemp("home")
    result = start(PRETRAIN, folder, "-data_path", data, "-batch_size", 8, *PRETRAIN.tiny, *GREY, *CROP, "SAVE_FREQ", 2)
    assert result.returncode == 0, result.stderr
    assert "this run writes to runs/pretrain-001 (also runs/latest); -output names another" in result.stdout
    return folder


def config_of(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_outputs_never_collide_and_the_latest_is_linked(data, home, tmp_path) -> None:
    for number in (1, 2):
        result = start(PRETRAIN, tmp_path, "-data_path", data, *PRETRAIN.tiny, *SHORT)
        assert result.returncode == 0, result.stderr
        assert config_of(tmp_path / "runs/latest")["SAVE"] == f"runs/pretrain-00{number}"
    assert os.readlink(tmp_path / "runs/latest") == "pretrain-002"
    record = record_of(open_weights(tmp_path / "runs/latest"), "runs/latest")
    assert "DATA.CROP_PCT" not in record.values, "the default is no reason to crop larger images so"
    # The link is another run's as soon as one begins: what is read and gone on with is named by its own folder.
    tuned = start(FINETUNE, tmp_path, "-pretrained", "runs/latest", "-data_path", data, "MODEL.NUM_CLASSES", 3, *SHORT)
    assert tuned.returncode == 0, tuned.stderr
    assert config_of(tmp_path / "runs/latest")["MODEL"]["PRETRAINED"] == "runs/pretrain-002"
    longer = start(FINETUNE, tmp_path, "-resume", "runs/latest", "TRAIN.NUM_EPOCHS", 2)
    assert longer.returncode == 0, longer.stderr
    assert config_of(tmp_path / "runs/latest")["SAVE"] == "runs/finetune-001"
    # A start that failed leaves no folder, and the link as it was.
    before = sorted(path.name for path in (tmp_path / "runs").iterdir())
    failed = start(PROBE, tmp_path, "-data_path", tmp_path, *PROBE.tiny)
    assert failed.returncode == 3, failed.stderr
    nowhere = start(PROBE, tmp_path, "-data_path", "nowhere", *PROBE.tiny)
    assert_refused(nowhere, 3, ["nowhere: no such folder"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == before
    assert os.readlink(tmp_path / "runs/latest") == "finetune-001"


def test_evaluation_takes_everything_from_the_run(home) -> None:
    result = start(PRETRAIN, home, "-eval", "-pretrained", "runs/pretrain-001")
    assert result.returncode == 0, result.stderr
    assert "7 images, mask ratio 0.75" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "from runs/pretrain-001: " in line]
    for words in ("MODEL.PATCH_SIZE 4", "DATA.IMAGE_SIZE 16", "DATA.IMAGENET_MEAN [0.4]", "MODEL.ENCODER.EMBED_DIM 16"):
        assert words in line


@pytest.mark.parametrize("stage", [FINETUNE, PROBE], ids=lambda stage: stage.package)
def test_other_stages_take_geometry_channels_size_and_statistics(stage: Stage, data, home, tmp_path) -> None:
    run = home / "runs/pretrain-001"
    args = ["-data_path", data, "-output", tmp_path / "run", "MODEL.NUM_CLASSES", 3, *SHORT]
    result = stage.start("-pretrained", run, *args)
    assert result.returncode == 0, result.stderr
    taken = config_of(tmp_path / "run")
    before = config_of(run)
    for key in ("IMAGE_SIZE", "IMAGE_CHANNELS", "IMAGENET_MEAN", "IMAGENET_STD", "CROP_PCT"):
        assert taken["DATA"][key] == before["DATA"][key]
    assert taken["MODEL"]["ENCODER"] == before["MODEL"]["ENCODER"]
    assert taken["TRAIN"]["BASE_LR"] != before["TRAIN"]["BASE_LR"]
    scored = stage.start("-eval", "-pretrained", tmp_path / "run", "-output", tmp_path / "scores")
    assert scored.returncode == 0, scored.stderr
    # What the user states is taken, unless no weights could be so.
    other = ["-image_size", 24, "DATA.CROP_PCT", 0.9]
    other_size = stage.start("-pretrained", run, *other, *[*args[:3], tmp_path / "larger", *args[4:]])
    assert "pos_embed resized from 4x4 to 6x6 patches" in other_size.stdout
    assert config_of(tmp_path / "larger")["DATA"]["CROP_PCT"] == 0.9
    words = ["MODEL.ENCODER.DEPTH", 2, "DATA.IMAGENET_MEAN", "[0.5]"]
    refused = stage.start("-pretrained", run, *args[:2], "-output", tmp_path / "no", *args[4:], *words)
    assert_refused(refused, 4, ["MODEL.ENCODER.DEPTH is 1 in these weights, 2 was asked for", "leave them out"])
    refused = stage.start("-pretrained", run, *args[:2], "-output", tmp_path / "no", *args[4:], *words[2:])
    assert_refused(refused, 4, ["IMAGENET_MEAN is [0.4]", "--allow-drift DATA.IMAGENET_MEAN"])


def test_a_run_finds_its_data_from_another_folder(data, tmp_path) -> None:
    """A relative path counts from where the run was started, unless it is there from here."""
    pytest.importorskip("jinja2", reason="the report extra is not installed")
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    shutil.copytree(data, tmp_path / "xray")
    (tmp_path / "med").mkdir()
    for stage in (PRETRAIN, FINETUNE):
        run = f"runs/{stage.kind}"
        began = start(stage, tmp_path / "med", "-data_path", "../xray", "-output", f"../{run}", *stage.tiny, *SHORT)
        assert began.returncode == 0, began.stderr
        assert config_of(tmp_path / run)["DATA"]["DATA_PATH"] == "../xray"
        scored = start(stage, tmp_path, "-eval", "-pretrained", run, "-output", run)
        assert scored.returncode == 0, scored.stderr
        page = start(stage, tmp_path, "report", run)
        assert page.returncode == 0, page.stderr
        for words in ("None are shown", "cannot be shown", "no such folder"):
            assert words not in (tmp_path / run / "report.html").read_text()
        longer = start(stage, tmp_path, "-resume", run, "TRAIN.NUM_EPOCHS", 2)
        assert longer.returncode == 0, longer.stderr
        assert config_of(tmp_path / run)["DATA"]["DATA_PATH"] == str((tmp_path / "xray").resolve())


def test_a_recipe_beside_a_run_leaves_it_its_size(data, home) -> None:
    words = ["-pretrained", "runs/pretrain-001", "-data_path", data, "--dry-run", *SHORT]
    before = config_of(home / "runs/pretrain-001")
    for stage, recipe in ((FINETUNE, "vit_tiny_96_finetune"), (PROBE, "vit_tiny_96_linearprobe")):
        planned = start(stage, home, "-cfg", recipe, *words)
        assert planned.returncode == 0, planned.stderr
        assert (
            "runs/pretrain-001 keeps its own size; not taken from the config file: MODEL.PATCH_SIZE" in planned.stdout
        )
        assert f"EMBED_DIM: {before['MODEL']['ENCODER']['EMBED_DIM']}, DEPTH" in planned.stdout
        assert f"IMAGE_SIZE: {before['DATA']['IMAGE_SIZE']}\n" in planned.stdout
    typed = start(FINETUNE, home, "-cfg", "vit_tiny_96_finetune", *words, "MODEL.PATCH_SIZE", 8)
    assert_refused(typed, 4, ["MODEL.PATCH_SIZE is 4 in these weights, 8 was asked for"])


@pytest.mark.parametrize("stage", [FINETUNE, PROBE], ids=lambda stage: stage.package)
def test_the_head_is_as_wide_as_the_data_name_classes(stage: Stage, data, home, tmp_path) -> None:
    shutil.copytree(data, named := tmp_path / "named")
    (named / "classes.txt").write_text("red\ngreen\nblue\n")
    words = ["-pretrained", home / "runs/pretrain-001", "-data_path", named, "--dry-run", *SHORT]
    counted, stated = stage.start(*words), stage.start(*words, "MODEL.NUM_CLASSES", 5)
    assert "NUM_CLASSES: 3\n" in counted.stdout
    assert f"from the classes of {named}: MODEL.NUM_CLASSES 3" in counted.stdout
    assert "NUM_CLASSES: 5\n" in stated.stdout
    assert f"MODEL.NUM_CLASSES is 5, {named} names 3 classes" in stated.stdout


def test_a_file_alone_tells_what_its_header_and_shapes_do(data, home, tmp_path) -> None:
    file = tmp_path / "mae_tiny.safetensors"
    assert weights_main(["convert", str(home / "runs/pretrain-001"), str(file)]) == 0
    statistics = ["--set", "DATA.IMAGENET_MEAN", "[0.4]", "--set", "DATA.IMAGENET_STD", "[0.25]"]
    picture = PRETRAIN.start("visualize", "-pretrained", file, *statistics, data / "val/class 0/a 0.jpg",
                             "-output", tmp_path / "grid.png")  # fmt: skip
    assert picture.returncode == 0, picture.stderr
    assert picture.stdout.strip() == str(tmp_path / "grid.png")
    assert "MODEL.PATCH_SIZE 4" in picture.stderr
    knn = PROBE.start("knn", "-pretrained", file, "-data_path", data, *GREY[2:], "--k", 3)
    assert knn.returncode == 0, knn.stderr


def test_a_config_of_another_stage_lends_what_stages_share(data, home, tmp_path) -> None:
    config = home / "runs/pretrain-001/config.yaml"
    args = ["-cfg", config, "-output", tmp_path / "run", "MODEL.NUM_CLASSES", 3, *SHORT]
    result = FINETUNE.start(*args)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "config of another stage (PRETRAIN)" in line]
    lent, ignored = line.split("; ignored: ")
    assert "DATA.DATA_PATH" in lent
    assert "MODEL.ENCODER.EMBED_DIM" in lent
    assert {"TRAIN", "MODEL.MASK_RATIO", "DATA.CROP_SCALE", "SAVE"} <= set(ignored.split(", "))
    taken = config_of(tmp_path / "run")
    assert taken["DATA"]["DATA_PATH"] == str(data)
    assert taken["DATA"]["CROP_SCALE"] == [0.08, 1.0]
    assert taken["MODEL"]["ENCODER"] == {"EMBED_DIM": 16, "DEPTH": 1, "NUM_HEADS": 2}
    assert "weights" not in result.stdout


def test_resume_alone_goes_on_longer_or_refuses_drift(home, data, tmp_path) -> None:
    args = ["-data_path", data, *PRETRAIN.tiny, "-batch_size", 8]
    assert start(PRETRAIN, tmp_path, *args, "-output", "moved").returncode == 0
    run = (tmp_path / "moved").rename(tmp_path / "here")
    done = PRETRAIN.start("-resume", run)
    assert done.returncode == 0, done.stderr
    assert "nothing to train: step 9 is reached" in done.stdout
    assert " 0 images/s" not in done.stdout
    drifted = PRETRAIN.start("-resume", run, "MODEL.MASK_RATIO", 0.5, "TRAIN.BASE_LR", 1e-3)
    assert_refused(drifted, 4, ["add --allow-drift MODEL.MASK_RATIO --allow-drift TRAIN.BASE_LR"])
    longer = PRETRAIN.start("-resume", run, "TRAIN.NUM_EPOCHS", 5)
    assert longer.returncode == 0, longer.stderr
    (line,) = [line for line in longer.stdout.splitlines() if "TRAIN.NUM_EPOCHS was 3, is 5" in line]
    steps = re.search(r"at epoch 3, .* from (\S+) to (\S+)$", line)
    assert steps
    assert float(steps[1]) == 0.0
    assert float(steps[2]) == pytest.approx(1.5e-4 * 8 / 256 / 2, rel=1e-2)  # half way down the longer cosine
    assert [r["step"] for r in records(run)][-3:] == [13, 14, 15]
    assert config_of(run)["SAVE"] == str(run)
    assert_refused(PRETRAIN.start("-resume", run, "TRAIN.NUM_EPOCHS", 4), 2, ["is behind the resumed checkpoint"])


def test_stages_keep_apart(home, data, tmp_path) -> None:
    run = home / "runs/pretrain-001"
    args = ["-data_path", data, *FINETUNE.tiny, "-batch_size", 8]
    assert_refused(FINETUNE.start("-resume", run, *args), 2, ["another stage (PRETRAIN", f"-pretrained {run}"])
    refused = FINETUNE.start("-output", run, *args)
    assert_refused(refused, 2, ["another stage (PRETRAIN): choose another -output"])
    assert "-resume" not in refused.stderr
    assert_refused(
        PRETRAIN.start("-resume", "auto", "-data_path", data), 2, ["-resume auto", "-output", "-resume RUN_"]
    )
