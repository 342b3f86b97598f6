"""What features show without training: neighbours by cosine, whitening and the effective rank, in NumPy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.class_figures import SCORED_CLASSES, label_figures

TEMPERATURE = 0.07
_QUERIES = 512  # rows compared with all training rows at a time
RIDGE = 1e-4  # of whitening: added to each variance, times their mean
_ROUNDING = 1e-10  # directions of less than this part of the largest variance are none
_ROWS = 4096  # rows that are float64 at a time
EPSILON = 1e-7  # of RankMe, the paper's


def accuracy_by_k(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    val: NDArray[np.float32],
    val_labels: NDArray[np.int64],
    ks: Sequence[int],
) -> dict[int, float]:
    """Return the top-1 accuracy in percent by k; see `figures_by_k`."""
    return {k: figures["top1"] for k, figures in figures_by_k(train, train_labels, val, val_labels, ks).items()}


def figures_by_k(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    val: NDArray[np.float32],
    val_labels: NDArray[np.int64],
    ks: Sequence[int],
) -> dict[int, dict[str, float]]:
    """Return accuracy and what counts each class alike by k: top1 and those of `label_figures`.

    Weighted k-nearest-neighbour classification by cosine (Wu et al., arXiv 1805.01978).

    Each of the k training rows of highest cosine votes for its class with exp(cosine / 0.07); of classes with the
    same sum, the lower wins.

    Args:
        train, val: features [N, D] and [M, D].
        train_labels, val_labels: classes, from 0.
        ks: numbers of neighbours, N at most.

    Raises:
        ValueError: no k is given, or one is outside 1 to N.
    """
    ks = sorted(ks)
    if not ks or ks[0] < 1 or ks[-1] > len(train):
        raise ValueError(f"ks={ks} for {len(train)} training rows; use numbers from 1 to that")
    bank, queries = unit(train), unit(val)
    num_classes = int(max(train_labels.max(), val_labels.max())) + 1
    predicted: dict[int, list[NDArray[np.int64]]] = {k: [] for k in ks}
    scores: dict[int, list[NDArray[np.float64]]] = {k: [] for k in ks}
    for start in range(0, len(queries), _QUERIES):
        cosines = queries[start : start + _QUERIES] @ bank.T  # [n, N]
        nearest = highest(cosines, ks[-1])
        votes = np.exp(np.take_along_axis(cosines, nearest, axis=1).astype(np.float64) / TEMPERATURE)
        for k in ks:
            sums = _votes(train_labels[nearest[:, :k]], votes[:, :k], num_classes)
            predicted[k].append(sums.argmax(axis=1))
            if num_classes <= SCORED_CLASSES:
                scores[k].append(sums / sums.sum(axis=1, keepdims=True))
    return {
        k: label_figures(val_labels, np.concatenate(predicted[k]), np.concatenate(scores[k]) if scores[k] else None)
        for k in ks
    }


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def highest(cosines: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns [n, k] of each row's highest, in order, of equal ones the first; all N are not sorted."""
    distances = -cosines
    rows = []
    for row, farthest in zip(distances, np.partition(distances, k - 1, axis=1)[:, k - 1], strict=True):
        found = np.flatnonzero(~(row > farthest))  # more than k where several are as far as the last, or not a number
        rows.append(found[np.argsort(row[found], kind="stable")[:k]])
    return np.stack(rows)


def _votes(labels: NDArray[np.int64], votes: NDArray[np.float64], num_classes: int) -> NDArray[np.float64]:
    """Return the sums of votes [n, k] for labels [n, k] by class [n, K]."""
    rows = np.arange(len(labels))[:, None] * num_classes
    sums = np.bincount((rows + labels).ravel(), votes.ravel(), minlength=len(labels) * num_classes)
    return sums.astype(np.float64, copy=False).reshape(len(labels), num_classes)


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

    The features of masked autoencoders spread unevenly: a few directions hold nearly all of their length, so that
    cosines compare little else. This is PCA whitening (Kessy et al., arXiv 1512.00809) with a ridge, which keeps
    directions of next to no variance from counting as much as the others.

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
    return (features[start : start + _ROWS] - mean for start in range(0, len(features), _ROWS))


def rankme(features: NDArray[Any]) -> float:
    """Return the effective rank of features [N, D]: 1 where all lie on a line, min(N, D) where all axes weigh alike.

    RankMe (Garrido et al., arXiv 2210.02885) is the exponential of the entropy of the singular values, divided by their
    sum (equation 1). Features are taken as they are, not centred, as there. It can be compared between features of one
    width and number only.
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares = values / max(values.sum(), np.finfo(np.float64).tiny) + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))
