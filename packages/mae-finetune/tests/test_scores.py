"""What an evaluation counts, against straightforward counting."""

import csv
import json

import numpy as np
import pytest

from mae_core.errors import ConfigError, UserError
from mae_data.errors import DataError
from mae_data.image_list import read_list
from mae_finetune.class_map import map_labels, read_class_map
from mae_finetune.corruptions import ALEXNET_ERRORS, corruption_errors, group_images, read_errors
from mae_finetune.report import write_report
from mae_finetune.scores import Scores


def sample(n=203, k=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, k)).astype("float32"), rng.integers(0, k, n)


def test_figures_equal_plain_counting_for_any_batches():
    logits, labels = sample()
    order = np.argsort(-logits, axis=1)
    top1 = 100 * np.mean(order[:, 0] == labels)
    top5 = 100 * np.mean([label in row[:5] for label, row in zip(labels, order, strict=True)])
    softmax = np.exp(logits.astype("float64")) / np.exp(logits.astype("float64")).sum(1, keepdims=True)
    loss = -np.mean(np.log(softmax[np.arange(len(labels)), labels]))
    for size in (1, 7, 203):
        scores = Scores(9)
        for i in range(0, len(labels), size):
            scores.add(logits[i : i + size], labels[i : i + size])
        assert scores.images == 203
        assert scores.figures() == pytest.approx({"top1": top1, "top5": top5, "val_loss": loss}, rel=1e-12)
    expected = np.zeros((9, 9))
    for label, predicted in zip(labels, order[:, 0], strict=True):
        expected[label, predicted] += 1
    np.testing.assert_array_equal(scores.confusion, expected)


def test_ties_are_broken_by_class_and_few_classes_have_a_top5():
    scores = Scores(8)
    scores.add(np.zeros((8, 8)), np.arange(8))  # a model that says nothing is right for one class, and for five
    assert scores.figures()["top1"] == pytest.approx(100 / 8)
    assert scores.figures()["top5"] == pytest.approx(500 / 8)
    two = Scores(2)
    two.add(np.array([[0.0, 1.0]]), np.array([0]))
    assert (two.figures()["top1"], two.figures()["top5"]) == (0.0, 100.0)


def test_outputs_that_take_no_part_win_nothing():
    scores = Scores(3)
    scores.add(np.array([[5.0, 1.0, -np.inf], [5.0, 6.0, -np.inf]]), np.array([0, 0]))
    assert scores.figures()["top1"] == 50.0
    loss = np.mean([np.log1p(np.exp(-4.0)), np.log1p(np.exp(1.0))])
    assert scores.figures()["val_loss"] == pytest.approx(loss)


def image_list(tmp_path, paths):
    (tmp_path / "val_list.txt").write_text("".join(f"{p}\n" for p in paths))
    return read_list("val_list.txt", tmp_path, labels="optional")


def test_class_map_gives_labels_by_folder(tmp_path):
    path = tmp_path / "map.txt"
    path.write_text("# ImageNet-A\nn01 6\n\nred fox 11\n")
    outputs = read_class_map(path, 12)
    assert outputs == {"n01": 6, "red fox": 11}
    images = image_list(tmp_path, ["a/red fox/x y.jpg", "n01/z.jpg"])
    np.testing.assert_array_equal(map_labels(images, outputs), [11, 6])
    with pytest.raises(DataError, match=r"val_list\.txt:2 \(n01/z\.jpg\).*'n01' is not in ROBUST\.CLASS_MAP"):
        map_labels(images, {"red fox": 0})


@pytest.mark.parametrize("line", ["n01", "n01 x", "n01 12", "n01 -1", "n00 3"])
def test_bad_class_maps_are_refused_by_line(tmp_path, line):
    path = tmp_path / "map.txt"
    path.write_text(f"n00 0\n{line}\n")
    with pytest.raises(ConfigError, match=r"map\.txt:2: .*0 to 11"):
        read_class_map(path, 12)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_class_map(tmp_path / "none", 12)
    path.write_text("\n")
    with pytest.raises(ConfigError, match="no `CLASS_FOLDER OUTPUT` line"):
        read_class_map(path, 12)


def test_mean_corruption_error_by_hand():
    references = {"fog": 0.5, "snow": 0.8}
    counts = np.zeros((10, 2))
    counts[:5] = [[10, 10 - e] for e in (1, 2, 3, 4, 5)]  # errors .1 to .5: mean .3
    counts[5:] = [[4, 2]] * 5  # error .5
    figures = corruption_errors(counts, references)
    assert figures == pytest.approx({"fog": 60.0, "snow": 62.5, "mCE": 61.25})
    counts[7] = 0
    with pytest.raises(DataError, match="no image of snow/3"):
        corruption_errors(counts, references)


def test_alexnet_divided_by_itself_is_100():
    assert len(ALEXNET_ERRORS) == 15
    counts = np.array([[1e6, 1e6 * (1 - e)] for e in ALEXNET_ERRORS.values() for _ in range(5)])
    assert corruption_errors(counts, read_errors(None))["mCE"] == pytest.approx(100.0)


def test_reference_errors_may_be_given(tmp_path):
    path = tmp_path / "errors.yaml"
    path.write_text("fog: 0.5\nblur: 0.25\n")
    assert read_errors(str(path)) == {"fog": 0.5, "blur": 0.25}
    path.write_text("fog: 50\n")
    with pytest.raises(ConfigError, match="fog=50 is not an error"):
        read_errors(str(path))


def test_groups_come_from_the_path(tmp_path):
    images = image_list(tmp_path, ["fog/1/n01/a.jpg", "snow/5/n01/a.jpg", "fog/3/n02/b.jpg"])
    np.testing.assert_array_equal(group_images(images, ["fog", "snow"]), [0, 9, 2])
    for bad in ("rain/1/n/a.jpg", "fog/6/n/a.jpg", "fog/12/n/a.jpg", "fog/a.jpg"):
        with pytest.raises(DataError, match=r"CORRUPTION/SEVERITY/.*fog, snow"):
            group_images(image_list(tmp_path, [bad]), ["fog", "snow"])


def test_tables_say_what_was_counted(tmp_path):
    logits, labels = sample(40, 3)
    scores = Scores(4)  # nothing is of the last class
    scores.add(np.pad(logits, ((0, 0), (0, 1)), constant_values=-9), labels)
    images = image_list(tmp_path, [f"dir{label}/{i}.jpg" for i, label in enumerate(labels)])
    write_report(tmp_path / "new" / "eval", scores, scores.figures(), images, labels)
    rows = list(csv.DictReader((tmp_path / "new/eval/per_class.csv").open()))
    assert [r["folder"] for r in rows] == ["dir0", "dir1", "dir2", ""]
    assert [int(r["images"]) for r in rows] == np.bincount(labels, minlength=4).tolist()
    hit = logits.argmax(1) == labels
    assert float(rows[1]["top1"]) == pytest.approx(100 * hit[labels == 1].mean(), abs=1e-4)
    assert rows[3]["top1"] == ""
    confusion = np.array([[int(x) for x in row] for row in csv.reader((tmp_path / "new/eval/confusion.csv").open())])
    np.testing.assert_array_equal(confusion, scores.confusion)
    assert json.loads((tmp_path / "new/eval/scores.json").read_text()) == scores.figures()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(tmp_path / "val_list.txt" / "eval", scores, {}, images, labels)
