"""`mae-data verify` and `stats` on lists of several labels and of numbers."""

import json
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main

pytestmark = pytest.mark.once
NAMES = ["furry", "flies", "very small", "green"]


@pytest.fixture
def folder(tmp_path):
    """Twenty images with any of three of four labels, and with two numbers, of which the second never changes."""
    rng = np.random.default_rng(0)
    has, numbers = rng.random((20, 4)) < [0.7, 0.4, 0.5, 0.0], rng.normal(5, 2, 20).round(3)
    has[3] = False
    for number in range(20):
        Image.fromarray(rng.integers(0, 255, (4, 5, 3), np.uint8)).save(tmp_path / f"{number}.png")
    words = [",".join(name for name, there in zip(NAMES, row, strict=True) if there) or "-" for row in has]
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.png\t{word}\n" for i, word in enumerate(words)))
    (tmp_path / "val_list.txt").write_text("0.png 1 0 1 0\n")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    (tmp_path / "weights.txt").write_text("".join(f"{i}.png {value} 7\n" for i, value in enumerate(numbers)))
    return tmp_path, has, numbers


def test_labels_are_counted_alone_and_in_pairs(folder, capsys):
    root, has, _ = folder
    assert main(["stats", str(root), "--labels", "names.txt", "--json"]) == 0
    train, val = json.loads(capsys.readouterr().out)
    assert (train["images"], train["without"]) == (20, sum(not any(row) for row in has))
    assert train["per_image"] == pytest.approx(np.mean([sum(row) for row in has]))
    for place, found in enumerate(train["labels"]):
        assert (found["name"], found["images"]) == (NAMES[place], sum(row[place] for row in has))
        assert found["share"] == pytest.approx(100 * np.mean(has[:, place]))
    pairs = {(NAMES[i], NAMES[j]): sum(row[i] and row[j] for row in has) for i, j in combinations(range(4), 2)}
    assert {tuple(each["names"]): each["images"] for each in train["pairs"]} == {k: n for k, n in pairs.items() if n}
    assert [each["images"] for each in train["pairs"]] == sorted((n for n in pairs.values() if n), reverse=True)
    assert [each["images"] for each in val["labels"]] == [1, 0, 1, 0]
    assert main(["stats", str(root), "--labels", "4", "--list", "val_list.txt"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "label     images  % of images",
        "label_0        1       100.00",
        "label_1        0         0.00",
        "label_2        1       100.00",
        "label_3        0         0.00",
        "label_0 and label_2: 1 images",
    ]


def test_numbers_are_measured(folder, capsys):
    root, _, numbers = folder
    assert main(["stats", str(root), "--numbers", "2", "--list", "weights.txt", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)[0]["numbers"]
    expected = [np.mean(numbers), np.std(numbers), min(numbers), np.median(numbers), max(numbers)]
    assert [first[key] for key in ("mean", "std", "min", "median", "max")] == pytest.approx(expected, rel=1e-6)
    assert (second["name"], second["mean"], second["std"]) == ("number_1", 7.0, 0.0)


def test_verify_reads_the_images_and_says_what_cannot_be_learnt(folder, capsys):
    root, *_ = folder
    assert main(["verify", str(root), "--labels", "names.txt", "--list", "train_list.txt"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "20 images checked, 0 bad, 0 duplicates", f"{root}/train_list.txt: no image has green"
    ]  # fmt: skip
    (root / "4.png").write_bytes(b"no image")
    assert main(["verify", str(root), "--numbers", "2", "--list", "weights.txt"]) == 3
    out = capsys.readouterr().out
    assert f"bad: {root}/weights.txt:5 (4.png): " in out
    assert f"{root}/weights.txt: of every image the same is number_1" in out


@pytest.mark.parametrize("command", ["verify", "stats"])
def test_faulty_lines_are_named(folder, capsys, command):
    root, *_ = folder
    (root / "bad.txt").write_text("0.png furry\n\n1.png fury\n2.png 0,9\n3.png 1 0 2 0\n4.png\n")
    assert main([command, str(root), "--labels", "names.txt", "--list", "bad.txt"]) == 3
    err = capsys.readouterr().err
    assert f"{root}/bad.txt:3: label 'fury' is neither 0 to 3 nor the name of one" in err
    assert f"{root}/bad.txt:4: label '9'" in err
    assert f"{root}/bad.txt:5: '1 0 2 0' is no row of 0 and 1" in err
    assert f"{root}/bad.txt:6: nothing beside the path '4.png'" in err
    (root / "bad.txt").write_text("0.png 1.5\n1.png nan\n2.png 1 2\n")
    assert main([command, str(root), "--numbers", "1", "--list", "bad.txt"]) == 3
    assert f"{root}/bad.txt:2: 'nan' is not a finite number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stats", "--labels", "0"], "--labels 0 is neither a number from 1 nor a file of names"),
        (["stats", "--numbers", "gone.txt"], "--numbers gone.txt is neither a number from 1 nor a file of names"),
        (["stats", "--labels", "4", "--yaml", "s.yaml"], "--yaml is for what the pixels hold"),
        (["verify", "--labels", "names.txt", "--write-lists"], "--write-lists is for lists of one class"),
        (["verify", "--labels", "4", "--masks"], "not allowed with argument"),
    ],
)
def test_what_cannot_be_is_refused(folder, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(main([words[0], str(folder[0]), *words[1:]]))
    assert (stopped.value.code, message in capsys.readouterr().err) == (2, True)
