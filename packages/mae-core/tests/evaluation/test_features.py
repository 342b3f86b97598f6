"""kNN against a plain loop, RankMe against its formula, whitening against scikit-learn's PCA and what it must do."""

import math

import numpy as np
import pytest

from mae_core.evaluation import features as module
from mae_core.evaluation.features import accuracy_by_k, figures_by_k, fit_whitening, highest, rankme


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
        np.testing.assert_array_equal(highest(cosines, k), expected)


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


def uneven(n, dim, seed=0):
    """Features whose variances along mixed axes differ by factors of a million."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(9).normal(size=(dim, dim)))[0]
    return (rng.normal(size=(n, dim)) * np.logspace(1, -2, dim) @ axes + 3).astype(np.float32)


def test_without_a_ridge_it_is_scikit_learns():
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is missing")
    train, val = uneven(200, 6), uneven(50, 6, 1)
    expected = decomposition.PCA(whiten=True, svd_solver="full").fit(train.astype(np.float64)).transform(val)
    found = fit_whitening(train, ridge=0.0)(val)
    signs = np.sign((found * expected).sum(axis=0))  # the sign of a direction is nobody's choice
    np.testing.assert_allclose(found, expected * signs, rtol=2e-4, atol=2e-4)


def test_training_features_get_the_variance_that_the_ridge_leaves():
    train = uneven(300, 8)
    white = fit_whitening(train)(train)
    variances = np.sort(np.linalg.eigvalsh(np.cov(train.astype(np.float64), rowvar=False)))[::-1]
    expected = variances / (variances + 1e-4 * variances.mean())
    assert white.dtype == np.float32
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.diag(expected), atol=1e-4)
    assert expected[-1] < 0.9 < expected[0]  # the ridge is seen


def test_rows_come_in_chunks(monkeypatch):
    train = uneven(300, 8)
    whole = fit_whitening(train)(train)
    monkeypatch.setattr(module, "_ROWS", 7)
    np.testing.assert_allclose(np.abs(fit_whitening(train)(train)), np.abs(whole), rtol=1e-4, atol=1e-5)


def test_fewer_images_than_numbers_give_as_many_directions_as_vary():
    train, val = uneven(5, 12), uneven(9, 12, 1)
    found = fit_whitening(train)
    assert found(train).shape == (5, 4)  # five points span four directions
    assert np.isfinite(found(val)).all()
    twice = np.concatenate([uneven(40, 3)] * 2, axis=1)
    assert fit_whitening(twice)(twice).shape == (40, 3)


@pytest.mark.parametrize("features", [np.full((9, 4), 0.1), np.zeros((9, 4)), np.array([[1.0, 2.0]])])
def test_features_that_do_not_vary_are_refused(features):
    with pytest.raises(ValueError, match="do not vary"):
        fit_whitening(features.astype(np.float32))
