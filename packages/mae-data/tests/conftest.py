"""Small image folders and pictures for the tests."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _save_image(path: Path, number: int = 0, size: tuple[int, int] = (12, 10)) -> None:
    """Write an image of (width, height) whose pixels depend on `number`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def save_image():
    return _save_image


@pytest.fixture
def image_root(tmp_path):
    """A folder of 20 images with `train_list.txt`; image i has label i % 3."""
    root = tmp_path / "images"
    lines = []
    for i in range(20):
        _save_image(root / f"{i:02d}.png", i)
        lines.append(f"{i:02d}.png {i % 3}\n")
    (root / "train_list.txt").write_text("".join(lines))
    return root


def _make_photo(width, height, seed=0, mode="RGB"):
    """Make a picture with coarse shapes, fine texture and noise."""
    rng = np.random.default_rng(seed)
    layers = []
    for cells, contrast in ((6, 90), (40, 40), (0, 6)):
        shape = (cells, cells, 3) if cells else (height, width, 3)
        layer = np.clip(rng.normal(128, contrast, shape), 0, 255).astype(np.uint8)
        layers.append(
            np.asarray(Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC), np.float64) - 128
        )
    pixels = np.clip(128 + sum(layers), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _as_jpeg(image, **options):
    """Encode a picture; options are Pillow's."""
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


@pytest.fixture(scope="session")
def make_photo():
    return _make_photo


@pytest.fixture(scope="session")
def as_jpeg():
    return _as_jpeg
