"""The letters: from fonts alone, the same ones each time, families apart, symbols left out."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.once

TOOL = Path(__file__).parents[1] / "tools" / "letters.py"


@pytest.fixture(scope="module")
def fonts():
    matplotlib = pytest.importorskip("matplotlib", reason="its fonts are drawn")
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def draw(*args):
    return subprocess.run([sys.executable, TOOL, *map(str, args)], capture_output=True, text=True, timeout=120)


def pictures(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}


def test_the_same_fonts_give_the_same_letters_split_by_family(fonts, tmp_path):
    results = [draw(tmp_path / name, fonts, "--styles", 1) for name in ("a", "b")]
    assert results[0].returncode == 0, results[0].stderr
    first, second = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert first == second
    assert f"{len(first) // 26} fonts of {len(first) // 26} families, 26 letters each" in results[0].stdout
    families = [{path.stem[:3] for path in first if path.parts[0] == part} for part in ("train", "val")]
    assert families[0]
    assert families[1]
    assert not families[0] & families[1]
    assert {path.parts[1] for path in first} == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for path in first:
        with Image.open(tmp_path / "a" / path) as picture:
            assert (picture.mode, picture.size) == ("L", (32, 32))
            assert picture.getextrema()[1] > 50  # something is drawn


def test_folders_that_exist_or_hold_no_fonts_are_refused(tmp_path):
    assert "exists; name a new folder" in draw(tmp_path, tmp_path).stderr
    assert "install more fonts" in draw(tmp_path / "new", tmp_path).stderr
