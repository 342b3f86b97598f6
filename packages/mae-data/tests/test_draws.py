"""Random numbers against closed forms of their distributions."""

import math

import numpy as np
import pytest

from mae_data.loading.dataset import sample_rng
from mae_data.rng import standard_normal, symmetric_beta

COUNT = 40_000
# Kolmogorov-Smirnov bound at 0.1 %.
BOUND = math.sqrt(-math.log(0.0005) / 2) / math.sqrt(COUNT)


def uniforms():
    return sample_rng(0, 0, 0).random((2, COUNT))


def distance(shares):
    """Kolmogorov-Smirnov distance of values from a distribution, given its function at the values."""
    shares = np.sort(shares)
    steps = np.arange(COUNT + 1) / COUNT
    return max(np.abs(shares - steps[1:]).max(), np.abs(shares - steps[:-1]).max())


def test_standard_normal():
    values = standard_normal(*uniforms())
    assert distance([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values]) < BOUND
    assert standard_normal(0.0, 0.25) == 0
    assert standard_normal(1 - 2**-53, 0.0) == pytest.approx(math.sqrt(2 * 53 * math.log(2)))


@pytest.mark.parametrize(
    ("alpha", "function"),
    [
        (0.5, lambda x: 2 / math.pi * np.arcsin(np.sqrt(x))),
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
        (3.0, lambda x: 10 * x**3 - 15 * x**4 + 6 * x**5),
    ],
)
def test_symmetric_beta(alpha, function):
    values = symmetric_beta(*uniforms(), alpha)
    assert distance(function(values)) < BOUND


def test_symmetric_beta_of_the_recipe():
    values = symmetric_beta(*uniforms(), 0.8)
    # P(X < x) of Beta(0.8, 0.8) by integrating the density, substituted by x = t^5 to tame its pole at 0.
    t = (np.arange(200_000) + 0.5) / 200_000 * 0.5**0.2
    density = 5 * t**4 * (t**5 * (1 - t**5)) ** -0.2
    shares = np.cumsum(density) / density.sum() / 2
    low = np.sort(np.minimum(values, 1 - values))
    wanted = 2 * np.interp(low**0.2, t, shares)
    assert distance(wanted) < BOUND
    assert abs(np.mean(values < 0.5) - 0.5) < 3.5 * 0.5 / math.sqrt(COUNT)


def test_extreme_draws_stay_in_range():
    last = 1 - 2**-53
    for alpha in (0.01, 0.8, 1.0, 50.0):
        values = symmetric_beta(np.array([0, last, last, 0.5]), np.array([0.3, 0.0, 0.5, 0.5]), alpha)
        assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_array_equal(symmetric_beta(last, np.array([0.0, 0.5]), 0.01), [1, 0])
