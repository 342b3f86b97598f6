"""Weighted k-nearest-neighbour classification by cosine (Wu et al., arXiv 1805.01978), in NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.class_figures import SCORED_CLASSES, label_figures

TEMPERATURE = 0.07
_CHUNK = 512  # rows compared with all training rows at a time


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
    bank, queries = _unit(train), _unit(val)
    num_classes = int(max(train_labels.max(), val_labels.max())) + 1
    predicted: dict[int, list[NDArray[np.int64]]] = {k: [] for k in ks}
    scores: dict[int, list[NDArray[np.float64]]] = {k: [] for k in ks}
    for start in range(0, len(queries), _CHUNK):
        cosines = queries[start : start + _CHUNK] @ bank.T  # [n, N]
        nearest = _nearest(cosines, ks[-1])
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


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _nearest(cosines: NDArray[np.float32], k: int) -> NDArray[np.int64]:
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
