"""Weighted k-nearest-neighbour classification by cosine (Wu et al., arXiv 1805.01978)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_probe.features import Features

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07
_CHUNK = 512  # images compared with all training images at a time


def knn_accuracy(train: Features, val: Features, ks: Sequence[int] = KS) -> dict[int, float]:
    """Return the top-1 accuracy in percent by k, for each k that the training images suffice for.

    Each of the k training images of highest cosine votes for its class with exp(cosine / 0.07); of
    classes with the same sum, the lower wins.

    Raises:
        UserError: labels are missing, widths differ, or there are fewer training images than the least k.
    """
    check_pair(train, val)
    ks = [k for k in sorted(ks) if k <= len(train.labels)]
    if not ks:
        raise UserError(f"{len(train.labels)} training images are fewer than the least k; give more")
    bank, queries = _unit(train.features), _unit(val.features)
    num_classes = int(max(train.labels.max(), val.labels.max())) + 1
    hits = dict.fromkeys(ks, 0)
    for start in range(0, len(queries), _CHUNK):
        cosines = queries[start : start + _CHUNK] @ bank.T  # [n, N]
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : ks[-1]]
        votes = np.exp(np.take_along_axis(cosines, nearest, axis=1).astype(np.float64) / TEMPERATURE)
        for k in ks:
            chosen = _most_voted(train.labels[nearest[:, :k]], votes[:, :k], num_classes)
            hits[k] += int((chosen == val.labels[start : start + _CHUNK]).sum())
    return {k: 100.0 * n / len(queries) for k, n in hits.items()}


def check_pair(train: Features, val: Features) -> None:
    """Refuse features without labels, and those of two different encoders.

    Raises:
        UserError: as said.
    """
    if min(train.labels.min(), val.labels.min()) < 0:
        raise UserError("some images have no label; use lists of `path label` lines")
    widths = train.features.shape[1], val.features.shape[1]
    if widths[0] != widths[1]:
        raise UserError(f"training features have {widths[0]} numbers, those to score {widths[1]}: use one encoder")


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _most_voted(labels: NDArray[np.int64], votes: NDArray[np.float64], num_classes: int) -> NDArray[np.int64]:
    """Return the class [n] with the largest sum of votes [n, k] for labels [n, k]."""
    rows = np.arange(len(labels))[:, None] * num_classes
    sums = np.bincount((rows + labels).ravel(), votes.ravel(), minlength=len(labels) * num_classes)
    return sums.reshape(len(labels), num_classes).argmax(axis=1)
