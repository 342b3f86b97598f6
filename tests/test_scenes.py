"""From a folder of scenes to a map: trained, encoded and predicted window by window, with rasterio's pixels."""

import csv
import importlib.util
import json

import numpy as np
import pytest
from stage_runs import FINETUNE, PRETRAIN

rasterio = pytest.importorskip("rasterio", reason="extra geo of mae-data is not installed")
from rasterio.transform import from_origin  # noqa: E402
from rasterio.windows import Window  # noqa: E402

import mae_core  # noqa: E402
import mae_data.cli  # noqa: E402
import mae_finetune  # noqa: E402
import mae_finetune.cli  # noqa: E402
import mae_pretrain.cli  # noqa: E402
import mae_probe  # noqa: E402
import mae_probe.cli  # noqa: E402
from mae_core.stage.config.from_weights import load_config  # noqa: E402
from mae_data.images import geotiff as geotiff_module  # noqa: E402
from mae_data.images.windows import sliding_windows  # noqa: E402
from mae_finetune.config import RECIPE  # noqa: E402
from mae_finetune.tasks.classification import Classifier  # noqa: E402
from mae_probe.extraction.feature_file import read_features  # noqa: E402

assert mae_core
SIZE, SIDE, NODATA = 16, 90, 65535
BANDS = ["DATA.IMAGE_CHANNELS", "4", "DATA.VALUE_RANGE", "10000", "DATA.NODATA", "file"]


@pytest.fixture(scope="module", autouse=True)
def small_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geotiff_module, "LEAST", 5000)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Scenes of two classes, each with an edge without data, and runs on them."""
    root, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    shape = {"height": SIDE, "width": SIDE + 7, "count": 4, "dtype": "uint16", "nodata": NODATA, "crs": "EPSG:32633"}
    layout = {"tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "deflate"}
    for i in range(8):
        path = root / "data" / ("field", "wood")[i % 2] / f"{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(1000 + 4000 * (i % 2), 4000 + 4000 * (i % 2), (4, SIDE, SIDE + 7)).astype(np.uint16)
        pixels[:, :, : 5 * i] = NODATA
        with rasterio.open(path, "w", transform=from_origin(5e5 + i, 5e6, 0.6, 0.6), **shape, **layout) as file:
            file.write(pixels)
    assert mae_data.cli.main(["index", str(root / "data"), "--val-fraction", "0.25"]) == 0
    data = ["-data_path", str(root / "data"), *BANDS]
    native = ["DATA.CROP", "native", "DATA.CROPS", "6", "-batch_size", "8", "DATA.NUM_WORKERS", "2"]
    assert mae_pretrain.cli.main([*data, "-output", str(root / "run"), *PRETRAIN.tiny, *native]) == 0
    tuned = ["-output", str(root / "tuned"), "-pretrained", str(root / "run"), "TRAIN.RAND_AUGMENT", "False"]
    batch = ["-batch_size", "4", "TRAIN.NUM_EPOCHS", "1", "TRAIN.WARMUP_EPOCHS", "0", "MODEL.ENCODER.DEPTH", "1"]
    batch += ["MODEL.NUM_CLASSES", "2"]
    assert mae_finetune.cli.main([*data, *tuned, *FINETUNE.tiny, *batch]) == 0
    return root


def window_of(path, window):
    """Read a window with rasterio alone, without data as the model's mean: NODATA fills in 0.5."""
    with rasterio.open(path) as file:
        place = Window(window.column, window.row, window.width, window.height)
        masked = file.read(window=place, masked=True)
    return np.where(np.ma.getmaskarray(masked), 5000, masked.data).transpose(1, 2, 0).astype(np.uint16)


def windows_with_data(path, overlap):
    """List the windows of which at least half are data, by the file's own mask."""
    found = []
    with rasterio.open(path) as file:
        for window in sliding_windows(SIDE, SIDE + 7, SIZE, overlap):
            place = Window(window.column, window.row, window.width, window.height)
            if np.ma.getmaskarray(file.read(window=place, masked=True)).mean() <= 0.5:
                found.append(window)
    return found


def test_an_epoch_has_the_crops_of_all_scenes(home):
    record = [json.loads(line) for line in (home / "run/log.jsonl").read_text().splitlines()]
    assert max(line.get("step", 0) for line in record) == 3 * (6 * 6 // 8)  # 6 scenes, 3 epochs


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_those_of_windows_that_rasterio_reads(home, tmp_path, suffix, workers):
    file = tmp_path / f"f{suffix}"
    options = ["--windows", "4", "--list", "val_list.txt", "--pool", "mean", "-output", str(file)]
    assert mae_probe.cli.main(
        ["features", "-data_path", str(home / "data"), "-pretrained", str(home / "run"), *options,
         "DATA.NUM_WORKERS", str(workers)]
    ) == 0  # fmt: skip
    found = read_features(file)
    lines = [line.split()[0] for line in (home / "data/val_list.txt").read_text().splitlines()]
    by_file = {line: windows_with_data(home / "data" / line, 4) for line in lines}
    assert found.paths == [line for line in lines for _ in by_file[line]]
    assert [tuple(box) for box in found.windows] == [window.box for line in lines for window in by_file[line]]
    path, expected = home / "data" / lines[0], by_file[lines[0]]
    assert len(expected) < len(sliding_windows(SIDE, SIDE + 7, SIZE, 4))
    pixels = [window_of(path, window) for window in expected]
    exact = mae_probe.features(home / "run", pixels, pool="mean", crop_pct=1.0)
    np.testing.assert_allclose(found.features[: len(expected)], exact, rtol=0, atol=1e-5)
    assert set(found.labels.tolist()) <= {0, 1}


def test_predictions_are_those_of_windows_and_the_map_is_their_mean(home, tmp_path, capsys):
    path = home / "data/wood/3.tif"
    options = ["--windows", "8", "--topk", "2", "--csv", str(tmp_path / "a.csv"), "--map", str(tmp_path / "maps")]
    assert mae_finetune.cli.main(["predict", "-pretrained", str(home / "tuned"), *options, str(path)]) == 0
    windows = windows_with_data(path, 8)
    assert len(windows) < len(sliding_windows(SIDE, SIDE + 7, SIZE, 8))
    opened = load_config(RECIPE, None, {"MODEL.PRETRAINED": str(home / "tuned")}, ["DATA.CROP_PCT", "1.0"], whole=True)
    classifier = Classifier(opened)
    exact = list(classifier.predict([window_of(path, window) for window in windows], 2))
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(rows) == 2 * len(windows)
    assert [(int(r["row"]), int(r["column"])) for r in rows[::2]] == [(w.row, w.column) for w in windows]
    probabilities = np.zeros((len(windows), 2))
    for i, said in enumerate(exact):
        for guess, row in zip(said.guesses, rows[2 * i : 2 * i + 2], strict=True):
            assert int(row["label"]) == guess.label
            assert float(row["probability"]) == pytest.approx(guess.probability, abs=1e-5)
            probabilities[i, guess.label] = guess.probability
    assert f"row {windows[1].row} column {windows[1].column}: " in capsys.readouterr().out
    sums, counts = np.zeros((SIDE, SIDE + 7, 2)), np.zeros((SIDE, SIDE + 7, 1))
    for window, value in zip(windows, probabilities, strict=True):
        place = slice(window.row, window.row + SIZE), slice(window.column, window.column + SIZE)
        sums[place] += value
        counts[place] += 1
    with rasterio.open(tmp_path / "maps/3.tif") as drawn, rasterio.open(path) as scene:
        assert drawn.crs == scene.crs
        assert drawn.transform == scene.transform * rasterio.Affine.scale(8)
        assert drawn.descriptions == ("label", "field", "wood")
        cells = drawn.read()
    cell = sums[8:16, 16:24].sum(axis=(0, 1)) / counts[8:16, 16:24].sum()
    np.testing.assert_allclose(cells[1:, 1, 2], cell, atol=1e-5)
    empty = np.isnan(cells[1])
    np.testing.assert_array_equal(empty, np.arange(empty.shape[1])[None] == np.zeros((empty.shape[0], 1)))
    np.testing.assert_array_equal(cells[0][~empty], cells[1:].argmax(axis=0)[~empty])
    assert np.isnan(cells[0][empty]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--windows", "16"], "--windows 16: windows of 16 pixels share 0 to 15"),
        (["--map", "maps"], "--map draws windows: add --windows OVERLAP"),
    ],
)
def test_what_leaves_no_step_or_draws_nothing_is_refused(home, capsys, words, said):
    file = str(home / "data/wood/3.tif")
    assert mae_finetune.cli.main(["predict", "-pretrained", str(home / "tuned"), *words, "--topk", "1", file]) == 2
    assert said in capsys.readouterr().err


def test_a_stage_says_what_to_install(home, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rasterio" else find_spec(name))
    monkeypatch.setattr(geotiff_module, "MAX_PIXELS", 100)
    words = ["-pretrained", str(home / "run"), "-data_path", str(home / "data"), "DATA.ON_ERROR", "raise"]
    assert mae_probe.cli.main(["features", *words, "DATA.NUM_WORKERS", "0"]) == 3
    assert 'pip install "mae-data[geo]"' in capsys.readouterr().err
