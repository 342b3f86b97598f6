"""The garments: canvases that show what their masks say, the same each time, parts apart."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.once

TOOL = Path(__file__).parents[1] / "tools" / "garments.py"


@pytest.fixture
def fashion(tmp_path):
    """Garments of one brightness for each class; those of the test part are one brighter."""
    for part, count in (("train", 40), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 4:24, 6:20] = (150 + 10 * labels + (part == "t10k"))[:, None, None]
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return tmp_path


def make(fashion, name, *more):
    words = [sys.executable, TOOL, fashion / name, fashion, "--train", "12", "--val", "5", *more]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


def read(folder, kind, part):
    return [np.asarray(Image.open(path)) for path in sorted((folder / kind / part).iterdir())]


def test_masks_say_what_canvases_show(fashion):
    assert "12 canvases to train, 5 to score, 11 classes" in make(fashion, "set").stdout
    shown = set()
    for part, brighter in (("train", 0), ("val", 1)):
        canvases, masks = (read(fashion / "set", kind, part) for kind in ("images", "masks"))
        assert len(canvases) == len(masks) == {"train": 12, "val": 5}[part]
        for canvas, mask in zip(canvases, masks, strict=True):
            assert canvas.shape == mask.shape == (64, 64)
            garment = mask > 0
            assert (canvas[garment] == 140 + 10 * mask[garment] + brighter).all()
            assert canvas[~garment].max() < 130
            assert 0 < garment.sum() <= 4 * 280
            shown |= set(np.unique(mask))
    assert len(shown) > 6
    assert len((fashion / "set/classes.txt").read_text().splitlines()) == 11


def test_the_seed_draws_them(fashion):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert make(fashion, name, "--seed", seed).returncode == 0
    first, again, other = (np.stack(read(fashion / name, "images", "train")) for name in "abc")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert "exists; name a new folder" in make(fashion, "a").stderr
    (fashion / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte.gz missing" in make(fashion, "d").stderr
