"""kNN against a plain loop in float64, RankMe against its formula and against what it must be."""

import math

import numpy as np
import pytest

from mae_core.evaluation.knn import _nearest, accuracy_by_k, figures_by_k
from mae_core.evaluation.rankme import rankme


def blobs(n, seed, classes=4, dim=6):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    labels = rng.integers(0, classes, n)
    return (centres[labels] + rng.normal(size=(n, dim))).astype(np.float32), labels


def plain_knn(train, train_labels, val, val_labels, k):
    """Row by row, in float64."""
    hits = 0
    for x, label in zip(val.astype(np.float64), val_labels, strict=True):
        pairs = []
        for y, other in zip(train.astype(np.float64), train_labels, strict=True):
            pairs.append((float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)), int(other)))
        sums = dict.fromkeys(range(4), 0.0)
        for cosine, other in sorted(pairs, reverse=True)[:k]:
            sums[other] += math.exp(cosine / 0.07)
        hits += max(sums, key=lambda c: sums[c]) == label
    return 100 * hits / len(val_labels)


def test_knn_is_that_of_a_plain_loop():
    train, val = blobs(120, 1), blobs(601, 2)  # more than the chunk that is compared at a time
    found = accuracy_by_k(*train, *val, [100, 10, 20])
    assert list(found) == [10, 20, 100]
    for k, accuracy in found.items():
        assert accuracy == pytest.approx(plain_knn(*train, *val, k), abs=1e-9)
    assert 30 < found[10] < 95


def test_of_equal_neighbours_the_first_count():
    """A sort of all, which is stable, says which: of rounded cosines many are equal; what is no number is farthest."""
    cosines = np.random.default_rng(4).random((40, 300), np.float32).round(2)
    cosines[::7, 5:] = np.nan
    for k in (1, 10, 300):
        expected = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(_nearest(cosines, k), expected)


def test_what_knn_says_of_each_class_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    (train, labels), (val, val_labels) = blobs(120, 1), blobs(601, 2)
    unit = train / np.linalg.norm(train, axis=1, keepdims=True), val / np.linalg.norm(val, axis=1, keepdims=True)
    rule = neighbors.KNeighborsClassifier(10, weights=lambda d: np.exp((1 - d**2 / 2) / 0.07)).fit(unit[0], labels)
    found, predicted = figures_by_k(train, labels, val, val_labels, [10])[10], rule.predict(unit[1])
    assert found == pytest.approx(
        {
            "top1": 100 * metrics.accuracy_score(val_labels, predicted),
            "balanced_accuracy": 100 * metrics.balanced_accuracy_score(val_labels, predicted),
            "macro_f1": 100 * metrics.f1_score(val_labels, predicted, average="macro"),
            "auroc": 100 * metrics.roc_auc_score(val_labels, rule.predict_proba(unit[1]), multi_class="ovr"),
        },
        abs=1e-3,  # cosines are of float32
    )


@pytest.mark.parametrize("ks", [[], [0, 5], [5, 13]])
def test_knn_refuses_numbers_of_neighbours_that_are_not_there(ks):
    train = blobs(12, 0)
    with pytest.raises(ValueError, match="12 training rows; use numbers from 1"):
        accuracy_by_k(*train, *train, ks)


@pytest.mark.parametrize("shape", [(200, 12), (7, 30)])
def test_rankme_is_its_formula(shape):
    """The formula by another way: singular values are roots of the eigenvalues of the Gram matrix."""
    features = np.random.default_rng(3).normal(size=shape) * np.linspace(0.1, 3, shape[1])
    smaller = features @ features.T if shape[0] < shape[1] else features.T @ features
    values = [math.sqrt(value) for value in np.linalg.eigvalsh(smaller)]
    shares = [value / sum(values) + 1e-7 for value in values]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert rankme(features.astype(np.float32)) == pytest.approx(expected, rel=1e-4)


def test_rankme_counts_directions():
    axes = np.eye(8, dtype=np.float32)
    assert rankme(np.repeat(axes[:5], 4, axis=0)) == pytest.approx(5, rel=1e-4)
    assert rankme(np.ones((9, 8), np.float32)) == pytest.approx(1, rel=1e-4)  # collapsed
    assert np.isfinite(rankme(np.zeros((9, 8), np.float32)))
