"""Whitening against scikit-learn's PCA, against what it must do, and where there is little or nothing to whiten."""

import numpy as np
import pytest

from mae_core.evaluation import whitening
from mae_core.evaluation.whitening import fit_whitening


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
    monkeypatch.setattr(whitening, "_CHUNK", 7)
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
