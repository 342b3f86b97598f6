"""kNN on arrays: what features, or anything else, tell of labels."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mae_core.errors import UserError
from mae_core.evaluation.features import accuracy_by_k


def knn_top1(
    train: ArrayLike,
    train_labels: Sequence[Hashable],
    val: ArrayLike,
    val_labels: Sequence[Hashable],
    k: int = 10,
) -> float:
    """Return the top-1 accuracy in percent of kNN by cosine, as `mae-probe knn` votes (arXiv 1805.01978).

    Args:
        train: [N, ...], features or pixels; further axes are flattened.
        train_labels: N classes, numbers or names.
        val: [M, ...] of the same shape.
        val_labels: M classes.
        k: neighbours that vote, from 1 to N.

    Raises:
        UserError: lengths, shapes or k that do not fit, or numbers that are not finite.

    Examples:
        >>> knn_top1([[1.0, 0.0], [0.0, 1.0]], ["cat", "dog"], [[0.9, 0.1]], ["cat"], k=1)
        100.0
    """
    bank, queries = _rows("train", train, train_labels), _rows("val", val, val_labels)
    if bank.shape[1] != queries.shape[1]:
        raise UserError(f"train has {bank.shape[1]} numbers an image, val {queries.shape[1]}: use one encoder")
    if not 1 <= k <= len(bank):
        raise UserError(f"k={k} for {len(bank)} training images; give a number from 1 to that")
    _, classes = np.unique([str(label) for label in [*train_labels, *val_labels]], return_inverse=True)
    classes = classes.astype(np.int64)
    return accuracy_by_k(bank, classes[: len(bank)], queries, classes[len(bank) :], [k])[k]


def _rows(name: str, values: ArrayLike, labels: Sequence[Hashable]) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    if array.ndim < 2 or len(array) != len(labels) or not array.size:
        raise UserError(f"{name} has shape {list(array.shape)} for {len(labels)} labels; give a row for each label")
    if not np.isfinite(array).all():
        raise UserError(f"{name} has numbers that are not finite")
    return array.reshape(len(array), -1)
