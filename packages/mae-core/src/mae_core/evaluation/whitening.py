"""Whitening of features: centred, and of about one variance along each of their principal directions, in NumPy.

The features of masked autoencoders spread unevenly: a few directions hold nearly all of their length, so that cosines
compare little else. This is PCA whitening (Kessy et al., arXiv 1512.00809) with a ridge, which keeps directions of next
to no variance from counting as much as the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-4  # added to each variance, times their mean
_ROUNDING = 1e-10  # directions of less than this part of the largest variance are none
_CHUNK = 4096  # rows that are float64 at a time


@dataclass(frozen=True)
class Whitening:
    """What `fit_whitening` found; call it on features [N, D] to get float32 [N, R]."""

    mean: NDArray[np.float64]  # [D]
    directions: NDArray[np.float64]  # [D, R], each divided by the root of its variance and the ridge

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = [(chunk @ self.directions).astype(np.float32) for chunk in _centred(features, self.mean)]
        return np.concatenate(parts)


def fit_whitening(features: NDArray[np.float32], ridge: float = RIDGE) -> Whitening:
    """Find the principal directions of training features [N, D] and their variances (over N - 1), in float64.

    Args:
        ridge: added to each variance, times the mean of all D.

    Returns:
        a whitening to the R directions in which the features vary, min(N - 1, D) at most.

    Raises:
        ValueError: they do not vary at all, as one image does not.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    products = sum(chunk.T @ chunk for chunk in _centred(features, mean))  # [D, D]
    variances, directions = np.linalg.eigh(products / max(len(features) - 1, 1))  # ascending
    if variances[-1] <= (np.finfo(np.float32).eps * np.abs(features).max()) ** 2:
        raise ValueError(f"{len(features)} rows of features do not vary, so there is nothing to whiten")
    kept = variances > _ROUNDING * variances[-1]
    variances, directions = variances[kept][::-1], directions[:, kept][:, ::-1]
    return Whitening(mean, directions / np.sqrt(variances + ridge * variances.sum() / features.shape[1]))


def _centred(features: NDArray[np.float32], mean: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    return (features[start : start + _CHUNK] - mean for start in range(0, len(features), _CHUNK))
