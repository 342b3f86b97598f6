"""A tiny data set and the command line, shared by the tests of this folder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_run import command


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """26 training and 5 validation JPEGs with list files."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for part, number in (("train", 26), ("val", 5)):
        (root / part).mkdir()
        lines = []
        for i in range(number):
            pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((25, 20)).save(root / part / f"a {i}.jpg", quality=95)
            lines.append(f"{part}/a {i}.jpg {i % 3}\n")
        (root / f"{part}_list.txt").write_text("".join(lines))
    return root


@pytest.fixture
def cli():
    """Run `mae-pretrain` as a user does; returns the finished process."""
    return lambda *args: subprocess.run(command(*args), capture_output=True, text=True, timeout=300)
