"""Figures of classes of very different sizes, each class counting alike: percent, as top-1."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SCORED_CLASSES = 100  # above, the output of every image for every class is not kept: no AUROC

_WORDS = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "auroc": "AUROC"}


def spoken(figures: Mapping[str, float]) -> str:
    """Return a line of the figures that count each class alike."""
    return " ".join(f"{words} {figures[name]:.2f}" for name, words in _WORDS.items() if name in figures)


def class_figures(confusion: NDArray[np.floating] | NDArray[np.int64]) -> dict[str, float]:
    """Return balanced accuracy and macro F1 in percent; 0 where nothing was scored.

    Args:
        confusion: [K, K], images by true class and prediction.

    Returns:
        balanced_accuracy: mean recall of the classes that have images.
        macro_f1: mean F1 of the classes that have images or were predicted.
    """
    hits, images, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    known, named = images > 0, images + predicted > 0
    recalls, f1s = hits[known] / images[known], 2 * hits[named] / (images + predicted)[named]
    return {
        name: 100.0 * float(values.sum()) / max(1, len(values))
        for name, values in (("balanced_accuracy", recalls), ("macro_f1", f1s))
    }


def label_figures(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], scores: NDArray[np.floating] | None = None
) -> dict[str, float]:
    """Return top1, and the figures of `class_figures` and `auroc`, of predictions that lie before us.

    Args:
        labels, predicted: int64 [N], N at least 1.
        scores: [N, K], of each class; None: no AUROC.
    """
    classes = int(max(labels.max(), predicted.max())) + 1
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    figures = {"top1": 100.0 * int(confusion.trace()) / len(labels), **class_figures(confusion)}
    return figures | ({} if scores is None else auroc(scores, labels))


def auroc(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the area under the ROC curve of each class against the rest, in percent, as the mean of the classes.

    It is the share of pairs (image of the class, other image) that the scores order rightly; of ties half are right.
    The two classes of a binary classifier have the same area where their scores mirror each other.

    Args:
        scores: [N, K]; of each class, higher means that it is likelier.
        labels: int64 [N].

    Returns:
        auroc; nothing where no class has both images and others.
    """
    areas = [area(scores[:, k], labels == k) for k in np.unique(labels)] if len(np.unique(labels)) > 1 else []
    return {"auroc": 100.0 * sum(areas) / len(areas)} if areas else {}


def area(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of one class, from 0 to 1; see `auroc`.

    It is the Mann-Whitney statistic over its largest value; ranks of ties are their mean.

    Args:
        scores: [N].
        positive: [N], some and not all.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    n = int(positive.sum())
    return float(ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n))
