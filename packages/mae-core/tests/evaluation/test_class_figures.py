"""Figures in which each class counts alike, against scikit-learn."""

import csv
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from mae_core.evaluation.class_figures import auroc, class_figures, label_figures, spoken
from mae_core.evaluation.classifier import score_batches
from mae_core.evaluation.scores import Scores
from mae_core.evaluation.tables import write_tables
from mae_core.training.precision import Precision

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def skewed(classes: int, ties: bool, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return logits [N, K] and labels [N] of classes of which each is rarer than the one before."""
    rng = np.random.default_rng(classes)
    shares = 0.4 ** np.arange(classes)
    labels = np.append(rng.choice(classes, n - classes, p=shares / shares.sum()), np.arange(classes))
    logits = rng.standard_normal((n, classes)) + 1.5 * np.eye(classes)[labels] - np.arange(classes)
    return (np.round(logits) if ties else logits).astype("float32"), labels


def scored(logits: np.ndarray, labels: np.ndarray, size: int = 64) -> Scores:
    scores = Scores(logits.shape[1], len(labels))
    for i in range(0, len(labels), size):
        rows = np.arange(i, min(i + size, len(labels)))
        scores.add(logits[rows], labels[rows], rows)
    scores.sum_over_ranks()
    return scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_figures_are_those_of_scikit_learn(classes, ties):
    logits, labels = skewed(classes, ties)
    figures, predicted = scored(logits, labels).figures(), logits.argmax(axis=1)
    exps = np.exp(logits.astype("float64"))
    shares = (exps / exps.sum(axis=1, keepdims=True)).round(9)  # what is tied in logits is tied here too
    expected = {
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "auroc": metrics.roc_auc_score(labels, shares[:, 1] if classes == 2 else shares, multi_class="ovr"),
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx(100 * value, abs=1e-9), name
    assert 50 < figures["auroc"] < 100
    known = {name: value for name, value in figures.items() if name not in ("top5", "val_loss")}
    assert label_figures(labels, predicted, shares) == pytest.approx(known)


def test_ties_are_half_right():
    """All 16 cases of two images of each class and scores of two levels, against counted pairs."""
    labels = np.array([0, 0, 1, 1])
    for bits in range(16):
        score = np.array([bits >> i & 1 for i in range(4)], float)
        pairs = [(score[p] > score[q]) + 0.5 * (score[p] == score[q]) for p in (2, 3) for q in (0, 1)]
        found = auroc(np.stack([-score, score], axis=1), labels)["auroc"]
        assert found == 100 * np.mean(pairs) == pytest.approx(100 * metrics.roc_auc_score(labels, score))


def test_a_classifier_that_is_very_sure_is_still_ordered():
    """Probabilities of these are 1 for all in float32, and in float64."""
    labels = np.array([1, 1, 0, 0])
    logits = np.array([[-90.0, 0], [-80.0, 0], [-60.0, 0], [-50.0, 0]], "float32")
    assert scored(logits, labels).figures()["auroc"] == 100.0
    assert scored(logits[::-1], labels).figures()["auroc"] == 0.0


def test_classes_without_images_do_not_count():
    logits, labels = skewed(3, False)
    wider = np.pad(logits, ((0, 0), (0, 2)), constant_values=-np.inf)  # outputs that take no part
    assert scored(wider, labels).figures() == pytest.approx(scored(logits, labels).figures())
    assert "auroc" not in scored(logits, np.zeros_like(labels)).figures()
    assert class_figures(np.zeros((3, 3))) == {"balanced_accuracy": 0.0, "macro_f1": 0.0}


def test_precision_and_recall_of_each_class(tmp_path):
    logits, labels = skewed(4, False)
    scores = scored(logits, labels)
    write_tables(tmp_path, scores, scores.figures(), {})
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open()))
    precision, recall, f1, images = metrics.precision_recall_fscore_support(labels, logits.argmax(axis=1))
    for name, expected in {"precision": precision, "recall": recall, "f1": f1, "images": images / 100}.items():
        assert [float(row[name]) for row in rows] == pytest.approx(100 * expected, abs=1e-4), name


def test_one_class_for_all_images_is_said(caplog):
    """95 : 5, and all called normal: top-1 alone would please."""
    labels = np.repeat([0, 1], [95, 5])
    logits, rows = paddle.to_tensor(np.tile(np.array([[3.0, 0.0]], "float32"), (100, 1))), np.arange(100)
    batch = SimpleNamespace(images=logits, labels=paddle.to_tensor(labels), indices=paddle.to_tensor(rows))
    with caplog.at_level("INFO", "mae"):
        scores = score_batches(paddle.nn.Identity(), [batch], Scores(2, 100), Precision(False))
    assert "all 100 images are taken for class 0: top-1 is no more than the share of its images" in caplog.text
    figures = scores.figures()
    assert (figures["top1"], figures["balanced_accuracy"], figures["auroc"]) == (95.0, 50.0, 50.0)
    assert spoken(figures) == "balanced accuracy 50.00 macro F1 48.72 AUROC 50.00"
    assert scored(np.eye(2)[labels], labels).only_class() is None
    assert scored(np.eye(2)[labels[:9]], labels[:9]).only_class() is None  # there is no other


def test_images_that_could_not_be_read_do_not_count():
    logits, labels = skewed(3, False, 20)
    dropped = np.arange(20) % 4 == 1
    places = np.where(dropped, ~np.arange(20), np.arange(20))
    given = [np.where(dropped[:, None], np.nan, logits).astype("float32"), np.where(dropped, -1, labels), places]
    batch = SimpleNamespace(**dict(zip(("images", "labels", "indices"), map(paddle.to_tensor, given), strict=True)))
    found = score_batches(paddle.nn.Identity(), [batch], Scores(3, 20), Precision(False))
    assert found.images == 15
    assert found.figures() == pytest.approx(scored(logits[~dropped], labels[~dropped]).figures())
