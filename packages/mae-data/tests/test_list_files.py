"""Lists of several labels and of numbers: what each spelling means, what is refused; names and colours of classes."""

import numpy as np
import pytest

from mae_data.errors import DataError
from mae_data.sources.annotated_list import open_targets
from mae_data.sources.list_file import class_colours, count_classes, read_classes

pytestmark = pytest.mark.once


def read(folder, text, count, **options):
    (folder / "list.txt").write_text(text, encoding="utf-8")
    return open_targets(folder, "list.txt", count, **options)


def test_labels_in_every_spelling(tmp_path):
    text = "a.jpg 0,2\nb b.jpg cat\nc.jpg 1 0 1\nd.jpg -\n\ne 1.jpg\tdog,0\nf.jpg 2\n"
    found = read(tmp_path, text, 3, labels=True, names=["cat", "dog", "fox"])
    assert [found.images.path(i) for i in range(6)] == ["a.jpg", "b b.jpg", "c.jpg", "d.jpg", "e 1.jpg", "f.jpg"]
    assert found.values.tolist() == [[1, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert found.images.describe(4).endswith("list.txt:6 (e 1.jpg)")


def test_two_classes_by_number_and_as_a_row(tmp_path):
    found = read(tmp_path, "a.jpg 0,1\nb.jpg 0 1\nc.jpg\t0, 1\nd.jpg\t0 1\n", 2, labels=True)
    assert found.values.tolist() == [[1, 1], [0, 1], [1, 1], [0, 1]]


def test_numbers_in_every_spelling(tmp_path):
    found = read(tmp_path, "a.jpg 1.5,-2\nb b.jpg 1e3 0\nc 7.jpg\t0.25 4\n", 2, labels=False)
    assert [found.images.path(i) for i in range(3)] == ["a.jpg", "b b.jpg", "c 7.jpg"]
    assert np.array_equal(found.values, np.array([[1.5, -2], [1000, 0], [0.25, 4]], np.float32))
    assert read(tmp_path, "a 2.jpg 0.5\n", 1, labels=False).values.tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("line", "count", "labels", "words"),
    [
        ("a.jpg 0,3", 3, True, r":1: label '3' is neither 0 to 2 nor the name of one"),
        ("a.jpg cow", 3, True, "label 'cow' is neither"),
        ("a.jpg 2 0 1", 3, True, "'2 0 1' is no row of 0 and 1; part the labels by commas"),
        ("a.jpg", 3, True, "nothing beside the path 'a.jpg'"),
        ("a.jpg 1", 2, False, "1 numbers, 2 are needed"),
        ("a.jpg 1,x", 2, False, "'x' is not a finite number"),
        ("a.jpg nan,1", 2, False, "'nan' is not a finite number"),
        ("../a.jpg 1,2", 2, False, "leaves the root"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, count, labels, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, line + "\n", count, labels=labels)


def test_a_name_with_a_space_needs_a_tab(tmp_path):
    with pytest.raises(DataError, match="'cow' is neither 0 to 1 nor the name of one; a tab parts a path from names"):
        read(tmp_path, "a.jpg red cow\n", 2, labels=True, names=["red cow", "dog"])
    found = read(tmp_path, "a.jpg\tred cow\n", 2, labels=True, names=["red cow", "dog"], names_file="tags.txt")
    assert found.values.tolist() == [[1, 0]]
    assert found.flags == ("--labels", "tags.txt")


def test_many_bad_lines_are_counted(tmp_path):
    with pytest.raises(DataError, match=r"list.txt:10: [\s\S]*and 15 more"):
        read(tmp_path, "a.jpg x\n" * 25, 3, labels=True)


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
