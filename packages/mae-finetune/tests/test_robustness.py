"""Robustness sets: labels by folder, corruptions and their mean error."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from mae_core.errors import ConfigError
from mae_core.evaluation.classifier import score_batches
from mae_core.training.precision import Precision
from mae_data.errors import DataError
from mae_data.sources.image_list import read_list
from mae_finetune.robustness import (
    ALEXNET_ERRORS,
    RobustScores,
    corruption_errors,
    group_images,
    map_labels,
    read_class_map,
    read_errors,
    require_every_group,
)


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
    counts[5:] = [[4, 2], [400, 300], [4, 1], [4, 0], [4, 4]]  # .5, .25, .75, 1, 0: mean .5 over severities
    figures = corruption_errors(counts, references)
    assert figures == pytest.approx({"fog": 60.0, "snow": 62.5, "mCE": 61.25})


def test_alexnet_divided_by_itself_is_100():
    assert len(ALEXNET_ERRORS) == 15
    counts = np.array([[1e6, 1e6 * (1 - e)] for e in ALEXNET_ERRORS.values() for _ in range(5)])
    assert corruption_errors(counts, read_errors(None))["mCE"] == pytest.approx(100.0)


def test_reference_errors_may_be_given(tmp_path):
    path = tmp_path / "errors.yaml"
    path.write_text("fog: 0.5\nblur: 0.25\n")
    assert read_errors(str(path)) == {"fog": 0.5, "blur": 0.25}
    path.write_text("fog: 1\n")
    assert read_errors(str(path)) == {"fog": 1.0}
    for wrong in ("50", "0", "true", "much"):
        path.write_text(f"fog: {wrong}\n")
        with pytest.raises(ConfigError, match=r"fog=.* is not an error"):
            read_errors(str(path))


def test_groups_come_from_the_path(tmp_path):
    images = image_list(tmp_path, ["fog/1/n01/a.jpg", "snow/5/n01/a.jpg", "fog/3/n02/b.jpg"])
    groups = group_images(images, ["fog", "snow"])
    np.testing.assert_array_equal(groups, [0, 9, 2])
    with pytest.raises(DataError, match=r"no image of fog/2, fog/4, fog/5, snow/1, snow/2, snow/3, snow/4$"):
        require_every_group(groups, ["fog", "snow"])
    require_every_group(np.arange(10), ["fog", "snow"])
    for bad in ("rain/1/n/a.jpg", "fog/6/n/a.jpg", "fog/12/n/a.jpg", "fog/a.jpg"):
        with pytest.raises(DataError, match=r"CORRUPTION/SEVERITY/.*fog, snow"):
            group_images(image_list(tmp_path, [bad]), ["fog", "snow"])


def test_scoring_counts_every_batch_by_the_labels_outputs_and_groups_it_is_given():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((11, 3)).astype("float32"), rng.integers(0, 3, 11)
    rows = [np.arange(i, min(i + 4, 11)) for i in (0, 4, 8)]
    batches = (
        SimpleNamespace(**{n: paddle.to_tensor(x) for n, x in zip(("images", "labels", "indices"), parts, strict=True)})
        for parts in ((logits[r], labels[r], r) for r in rows)
    )
    other, absent = np.roll(labels, 1) % 2, np.array([False, False, True])  # output 2 takes no part
    given = RobustScores(other, absent, np.arange(11) % 2, 2)
    assert score_batches(paddle.nn.Identity(), batches, given, Precision(False)) is given
    hits = logits[:, :2].argmax(1) == other
    assert given.images == 11
    assert given.figures()["top1"] == pytest.approx(100 * hits.mean())
    assert given.groups.tolist() == [[6, hits[::2].sum()], [5, hits[1::2].sum()]]
    assert [part.shape for part in given.counts()] == [(3, 3), (3,), (1,), (2, 2)]
