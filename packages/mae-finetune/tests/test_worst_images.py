"""The gallery of labels and numbers shows what is most wrong, the worst first, with the pictures of the list."""

import re

import numpy as np
import pytest

from mae_core.errors import UserError
from mae_core.report.pictures import tile
from mae_core.report.run_files import read_run
from mae_finetune.tasks.worst_images import far_numbers, worst_images, wrong_labels

pytest.importorskip("jinja2", reason="jinja2 is not installed")
LABELS = """index,image,true_red,said_red,true_dark,said_dark
0,a.png,1,0.4,0,0.1
2,b.png,1,0.02,0,0.5
3,c <b>.png,0,0.2,0,0.9
5,d.png,1,0.99,1,0.8
"""
NUMBERS = """index,image,true_kg,said_kg
0,a.png,4,5.5
1,b.png,30,12
2,c.png,-1,-1
"""


@pytest.fixture
def gallery(tmp_path):
    """Makes the gallery of a table, and lists what was drawn."""
    (tmp_path / "eval").mkdir()
    (tmp_path / "config.yaml").write_text("MODEL: {}\n")
    drawn = []

    def draw(index, path, alt):
        drawn.append((index, path, alt))
        return tile(np.zeros((4, 4, 1), np.uint8), alt)

    def make(table, find, draw=draw):
        if table:
            (tmp_path / "eval/predictions.csv").write_text(table)
        sections = worst_images(read_run(tmp_path), find, draw)
        return "".join(str(html) for section in sections for html in section.body), drawn

    return make


def test_labels_that_are_missed_or_said_wrongly_come_surest_first(gallery):
    html, drawn = gallery(LABELS, wrong_labels)
    assert drawn == [
        (2, "b.png", "red, missed"),
        (0, "a.png", "red, missed"),
        (3, "c <b>.png", "dark, which it is not"),
        (2, "b.png", "dark, which it is not"),
    ]
    assert re.findall(r"<h3>(.*)</h3>", html) == ["red, missed", "dark, which it is not"]
    assert re.findall(r"([\d.]+%), ([^<&\s]+)", html) == [
        ("2.0%", "b.png"), ("40.0%", "a.png"), ("90.0%", "c"), ("50.0%", "b.png")
    ]  # fmt: skip
    assert "<b>" not in html


def test_of_many_mistakes_the_others_are_counted(gallery):
    rows = "".join(f"{i},{i}.png,0,{0.5 + i / 100}\n" for i in range(9))
    html, drawn = gallery("index,image,true_red,said_red\n" + rows, wrong_labels)
    assert [index for index, *_ in drawn] == [8, 7, 6, 5, 4, 3]
    assert "And 3 more." in html


def test_numbers_furthest_from_the_truth(gallery):
    html, drawn = gallery(NUMBERS, far_numbers)
    assert [index for index, *_ in drawn] == [1, 0, 2]
    assert "said 12, is 30, b.png" in html
    assert "said 5.5, is 4, a.png" in html


def test_without_scores_or_images_the_page_goes_on(gallery):
    assert gallery("", wrong_labels) == ("", [])

    def gone(*_):
        raise UserError("the list is gone")

    assert "cannot be shown: the list is gone" in gallery(LABELS, wrong_labels, gone)[0]
    assert gallery("index,image,true_red,said_red\n0,a.png,1,0.7\n", wrong_labels) == ("", [])
