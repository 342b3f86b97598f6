"""Five-band 16-bit tiles, from the first command to a picture, a classifier, a score and an exported model."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import warm_commands
import yaml
from PIL import Image
from stage_runs import FINETUNE, PRETRAIN, PROBE, assert_refused, records

tifffile = pytest.importorskip("tifffile")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("channels")]  # trained once

BANDS, SIDE, WHITE = 5, 24, 10000
MODEL = """
BASE: [stats.yaml]
DATA: {{IMAGE_SIZE: 24, BATCH_SIZE: 16, NUM_WORKERS: 0, CROP_PCT: 1.0, CROP_SCALE: [0.6, 1.0]}}
MODEL: {{PATCH_SIZE: 4, ENCODER: {{EMBED_DIM: 48, DEPTH: 2, NUM_HEADS: 4}}{model}}}
TRAIN: {{WARMUP_EPOCHS: 1{train}}}
"""
PRETRAIN_CFG = MODEL.format(
    model=", NORM_PIX_LOSS: false, DECODER: {EMBED_DIM: 48, DEPTH: 1, NUM_HEADS: 4}",
    train=", NUM_EPOCHS: 12, BASE_LR: 0.03",
)
FINETUNE_CFG = MODEL.format(
    model=", NUM_CLASSES: 3",
    train=", NUM_EPOCHS: 4, BASE_LR: 0.008, RAND_AUGMENT: false, MIXUP_ALPHA: 0.0, CUTMIX_ALPHA: 0.0",
)
PROBE_CFG = MODEL.format(model=", NUM_CLASSES: 3", train="")


def write_tiles(root: Path, part: str, number: int) -> None:
    """Write waves of three directions, brightest in a band by direction; each tile with a spectrum of its own."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    for i in range(number):
        angle = np.pi / 3 * (i % 3) + rng.uniform(-0.2, 0.2)
        wave = np.sin(2 * np.pi * (2 * (x * np.cos(angle) + y * np.sin(angle)) + rng.random()))
        level, strength = rng.uniform(0.1, 0.4, BANDS), rng.uniform(0.02, 0.1, BANDS)
        level[i % 3] += 0.3
        tile = WHITE * (
            level[:, None, None] + strength[:, None, None] * wave + rng.normal(0, 0.004, (BANDS, SIDE, SIDE))
        )
        path = root / part / f"direction {i % 3}" / f"{i:03d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path, np.rint(tile.clip(0)).astype(np.uint16), photometric="minisblack", planarconfig="separate"
        )


def mae_data(*words: object) -> str:
    done = warm_commands.run([sys.executable, "-m", "mae_data", *words])
    assert done.returncode == 0, done.stderr
    return done.stdout


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles with lists, their statistics and the configs that rest on these."""
    root = tmp_path_factory.mktemp("tiles")
    write_tiles(root, "train", 160)
    write_tiles(root, "val", 36)
    assert "160 images for training, 36 for validation, 3 classes" in mae_data("index", root)
    assert "wrote" in mae_data("stats", root, "--value-range", WHITE, "--yaml", root / "stats.yaml", "--workers", 1)
    for name, text in (("pretrain", PRETRAIN_CFG), ("finetune", FINETUNE_CFG), ("probe", PROBE_CFG)):
        (root / f"{name}.yaml").write_text(text)
    return root


@pytest.fixture(scope="module")
def run(tiles: Path) -> Path:
    """A pre-training run on them."""
    words = ["-cfg", tiles / "pretrain.yaml", "-data_path", tiles, "-output", tiles / "run", "REPORT_FREQ", 10]
    succeeds(PRETRAIN.start(*words, "SAVE_FREQ", 12))
    return tiles / "run"


def test_the_statistics_are_in_the_config_of_the_run(run: Path, tiles: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())["DATA"]
    assert {key: config[key] for key in ("IMAGE_CHANNELS", "VALUE_RANGE")} == {
        "IMAGE_CHANNELS": 5,
        "VALUE_RANGE": WHITE,
    }
    pixels = [tifffile.imread(path) for path in sorted((tiles / "train").rglob("*.tif"))]
    unit = np.stack(pixels).astype(np.float64) / WHITE  # [N, C, H, W]
    np.testing.assert_allclose(config["IMAGENET_MEAN"], unit.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(config["IMAGENET_STD"], unit.std((0, 2, 3)), rtol=1e-12)


def test_pretraining_learns_more_than_the_mean_image(run: Path, tiles: Path) -> None:
    losses = [record["loss"] for record in records(run)]
    assert losses[-1] < 0.6 * losses[0]
    text = succeeds(PRETRAIN.start("-cfg", tiles / "pretrain.yaml", "-data_path", tiles, "-eval", "-pretrained", run))
    found = re.search(r"MAE (\S+), inpainting (\S+), mean image (\S+)", text)
    assert found, text
    mae, _, mean_image = map(float, found.groups())
    assert mae < 0.5 * mean_image


def test_a_picture_shows_the_bands_that_are_asked_for(run: Path, tiles: Path, tmp_path: Path) -> None:
    images = sorted((tiles / "val").rglob("*.tif"))[:2]
    words = ["visualize", "-pretrained", run, "-output", tmp_path / "a.png", "--bands", 3, 1, 0, *images]
    succeeds(PRETRAIN.start(*words))
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    zoom, left, top = 128 // SIDE, 8, 22
    shown = picture[top : top + SIDE * zoom : zoom, left : left + SIDE * zoom : zoom].astype(np.float64)
    stats = yaml.safe_load((tiles / "stats.yaml").read_text())["DATA"]
    mean, std = (np.array(stats[f"IMAGENET_{name}"])[[3, 1, 0]] for name in ("MEAN", "STD"))
    tile = tifffile.imread(images[0])[[3, 1, 0]].transpose(1, 2, 0) / WHITE
    expected = 255 * ((tile - mean) / (5 * std) + 0.5).clip(0, 1)
    np.testing.assert_allclose(shown, expected, atol=1.0)
    words[words.index("--bands") + 1] = 5
    assert_refused(PRETRAIN.start(*words), 2, ["bands 5 1 0", "from 0 to 4"])


def test_finetuning_and_neighbours_tell_the_classes_apart(run: Path, tiles: Path, tmp_path: Path) -> None:
    words = ["-data_path", tiles, "-pretrained", run]
    succeeds(FINETUNE.start("-cfg", tiles / "finetune.yaml", *words, "-output", tmp_path / "out"))
    assert records(tmp_path / "out")[-1]["top1"] > 60  # by chance 33
    text = succeeds(PROBE.start("knn", "-cfg", tiles / "probe.yaml", *words, "--k", 5))
    assert float(re.search(r"kNN k=5: top-1 (\S+)", text)[1]) > 60


def test_the_exported_model_takes_the_stored_values(run: Path, tmp_path: Path) -> None:
    succeeds(PRETRAIN.start("export", "-pretrained", run, "-output", tmp_path / "exported"))
    description = json.loads((tmp_path / "exported" / "export.json").read_text())
    (images,) = description["inputs"]
    assert (images["dtype"], images["shape"]) == ("int32", ["N", SIDE, SIDE, BANDS])
    assert "pixels 0 to 10000 (of uint16 images), 5 channels, channels last" in images["values"]
    assert description["value_range"] == [0, WHITE]


def test_what_contradicts_the_range_is_refused_by_file(tiles: Path, tmp_path: Path) -> None:
    words = ["-cfg", tiles / "pretrain.yaml", "-data_path", tiles, "-output", tmp_path / "out"]
    done = PRETRAIN.start(*words, "DATA.VALUE_RANGE", 1000)
    assert_refused(done, 3, ["train_list.txt:", ".tif", "leave the value range 1000; state a wider one"])
    done = PRETRAIN.start(*words, "DATA.VALUE_RANGE", 255, "-output", tmp_path / "b")
    assert_refused(done, 3, ["uint16 values, but the value range 255 is one of uint8"])
