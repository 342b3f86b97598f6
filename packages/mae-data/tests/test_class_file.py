"""classes.txt: names, and colours behind them."""

import numpy as np
import pytest

from mae_data.sources.list_file import class_colours, count_classes, read_classes

pytestmark = pytest.mark.once


def test_colours_stand_behind_names(tmp_path):
    (tmp_path / "classes.txt").write_text("ground\nriver bed #4363d8\nno #12 colour\nRoof\t#FFee00 \n")
    assert read_classes(tmp_path) == ["ground", "river bed", "no #12 colour", "Roof"]
    assert count_classes(tmp_path) == 4
    colours = class_colours(tmp_path, 5)
    assert (colours.dtype, colours.shape) == (np.uint8, (5, 3))
    assert colours[[1, 3]].tolist() == [[0x43, 0x63, 0xD8], [255, 0xEE, 0]]
    assert colours[0].tolist() == [64, 64, 64]


def test_colours_are_always_the_same_and_apart(tmp_path):
    colours = class_colours(tmp_path, 40).astype(int)
    assert colours.tolist() == class_colours(tmp_path, 60)[:40].tolist()
    apart = np.abs(colours[:, None] - colours[None]).max(axis=2) + 999 * np.eye(40, dtype=int)
    assert apart.min() >= 8
    assert apart[:12, :12].min() >= 30
