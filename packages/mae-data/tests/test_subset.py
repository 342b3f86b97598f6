"""Lists of few labels."""

import numpy as np
import pytest

from mae_data.cli import main
from mae_data.commands.subset import draw_subset
from mae_data.sources.image_list import read_list

LABELS = np.random.default_rng(0).integers(0, 5, 200)


def test_each_class_has_its_number_and_more_adds_to_fewer():
    few, more = draw_subset(LABELS, 3, seed=7), draw_subset(LABELS, 10, seed=7)
    assert np.bincount(LABELS[few]).tolist() == [3] * 5
    assert set(few) < set(more)
    assert (np.diff(more) > 0).all()
    assert (draw_subset(LABELS, 10, seed=7) == more).all()
    assert set(draw_subset(LABELS, 10, seed=8)) != set(more)


def test_every_image_is_drawn_about_as_often():
    counts = np.zeros(200)
    for seed in range(400):
        counts[draw_subset(LABELS, 10, seed)] += 1
    for label in range(5):
        of_class = counts[label == LABELS]
        expected = 400 * 10 / len(of_class)
        assert abs(of_class - expected).max() < 5 * np.sqrt(expected)  # about five deviations


def test_the_draw_is_pinned():
    assert draw_subset(np.repeat([0, 1], 20), 3, seed=1).tolist() == PINNED


PINNED = [2, 4, 11, 21, 23, 25]


def test_the_command_writes_lines_of_the_list(image_root, capsys):
    assert main(["subset", str(image_root / "train_list.txt"), "--per-class", "7", "--seed", "3"]) == 0
    path = image_root / "train_list_7_per_class_seed3.txt"
    out = capsys.readouterr().out
    assert f"{path}: 20 images" in out
    assert "all images of classes that have fewer: 2 (6)" in out
    whole = (image_root / "train_list.txt").read_text().splitlines()
    assert path.read_text().splitlines() == whole
    few = image_root / "few.txt"
    assert main(["subset", str(image_root / "train_list.txt"), "--per-class", "2", "--output", str(few)]) == 0
    assert set(few.read_text().splitlines()) < set(whole)
    assert np.bincount(read_list(few, image_root).labels).tolist() == [2, 2, 2]


def test_a_relative_list_is_found_from_here(image_root, monkeypatch):
    monkeypatch.chdir(image_root.parent)
    assert main(["subset", f"{image_root.name}/train_list.txt", "--per-class", "2"]) == 0
    assert (image_root / "train_list_2_per_class_seed0.txt").is_file()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.txt", "--per-class", "2"], 3, "nowhere.txt"),
        (["{root}/train_list.txt", "--per-class", "0"], 2, "0 is not a number from 1"),
        (["{root}/train_list.txt", "--per-class", "2", "--output", "{root}/train_list.txt", "--force"], 2, "itself"),
        (["{root}/train_list.txt", "--per-class", "2", "--output", "{root}/00.png"], 2, "--force"),
        (["{root}/bare.txt", "--per-class", "2"], 3, "no label"),
    ],
)
def test_user_errors_are_named(image_root, capsys, words, code, said):
    (image_root / "bare.txt").write_text("00.png\n")
    try:
        found = main(["subset", *(word.format(root=image_root) for word in words)])
    except SystemExit as error:
        found = error.code
    assert found == code
    assert said in capsys.readouterr().err
