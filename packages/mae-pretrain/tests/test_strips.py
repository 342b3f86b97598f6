"""The small pictures that the monitor keeps, and how the report lines them up."""

import json

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the report extra is not installed")

from mae_core.report.run_files import read_run
from mae_pretrain.monitor.strips import _read_strip, strips, write_strip


def columns(height, width, channels, rows, grey):
    """Return four columns of pictures, each of one grey: its own, plus its row."""
    return [np.full((rows, height, width, channels), grey + 50 * column, np.uint8) for column in range(4)]


@pytest.fixture
def run(tmp_path):
    """A run with looks after epochs 1 to 5, and a picture of a step that it went back before."""
    (tmp_path / "config.yaml").write_text("MODEL: {}\n")
    looks = [{"kind": "validation", "step": 10 * n, "epoch": float(n), "val_loss": 1.0} for n in range(1, 6)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(look) + "\n" for look in looks))
    for step in (10, 20, 30, 40, 50, 60):
        write_strip(tmp_path / "monitor/strips" / f"step_{step:08d}.png", columns(8, 8, 1, 8, step))
    return tmp_path


@pytest.mark.parametrize(
    ("shape", "cell"), [((32, 32, 1), (32, 32)), ((224, 112, 3), (96, 48)), ((96, 192, 3), (48, 96))]
)
def test_pictures_are_small_and_come_back_by_row_and_column(tmp_path, shape, cell):
    path = tmp_path / "strips/step.png"
    made = columns(*shape, 8, 20)
    made[1][2] += 5
    write_strip(path, made)
    rows = _read_strip(path)
    assert [[picture.shape for picture in row] for row in rows] == [[(*cell, shape[2])] * 3] * 3
    assert [[int(picture[0, 0, 0]) for picture in row] for row in rows] == [[20, 70, 170], [20, 70, 170], [20, 75, 170]]


def test_photographs_take_less_than_their_pixels(tmp_path):
    noise = [np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8) for _ in range(4)]
    write_strip(tmp_path / "step.png", noise)
    assert (tmp_path / "step.png").stat().st_size < 9 * 96 * 96 * 3 * 1.1


def test_the_first_a_middle_and_the_newest_look_are_shown(run):
    (section,) = strips(read_run(run))
    page = "".join(map(str, section.body))
    assert [f"epoch {n}<" in page for n in range(1, 7)] == [True, False, True, False, True, False]
    assert page.count("<img ") == 3 * 5


def test_none_and_damaged_pictures_leave_the_page(run, tmp_path):
    (run / "monitor/strips/step_00000050.png").write_bytes(b"no picture")
    (section,) = strips(read_run(run))
    assert "damaged" in str(section.body[0])
    (run / "log.jsonl").unlink()
    assert strips(read_run(run)) == []
