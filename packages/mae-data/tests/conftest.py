"""Small image folders for the tests."""

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
