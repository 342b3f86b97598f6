"""The brain's slices: a slab is scored, its neighbours are left out, left and right are one region."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.once

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")

TOOL = Path(__file__).parents[1] / "tools" / "brain.py"


@pytest.fixture
def templates(tmp_path):
    """A volume whose slices are as bright as their number, with four numbers of the atlas in its middle."""
    brain, atlas = (np.zeros((181, 217, 181), np.uint8) for _ in range(2))
    brain[40:140, 40:180, 30:131] = np.arange(30, 131)
    for number, left in enumerate(range(50, 130, 20), 1):
        atlas[left : left + 20, 60:160, 30:131] = number
    for name, volume in (("ch2bet", brain), ("aal", atlas)):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (tmp_path / "aal.nii.txt").write_text("1 Front_L 2001\n2 Front_R 2002\n\n3 Stem 2003\n4 Back_L 2004\n")
    return tmp_path


def test_slab_gap_and_regions(templates):
    output = templates / "set"
    words = [sys.executable, TOOL, output, templates]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert "73 slices to train, 20 to score, 4 classes" in done.stdout
    assert (output / "classes.txt").read_text().split() == ["none", "Front", "Stem", "Back"]
    numbers = {part: sorted(int(p.stem) for p in (output / "images" / part).iterdir()) for part in ("train", "val")}
    assert numbers["val"] == list(range(70, 90))
    assert numbers["train"] == [*range(30, 66), *range(94, 131)]
    image, mask = (np.asarray(Image.open(output / kind / "val/080.png")) for kind in ("images", "masks"))
    assert image.shape == mask.shape == (192, 224)
    assert set(np.unique(image)) == {0, round(80 / 130 * 255)}
    assert np.bincount(mask.ravel()).tolist()[1:] == [4000, 2000, 2000]
    again = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert (again.returncode, "exists; name a new folder" in again.stderr) == (2, True)
