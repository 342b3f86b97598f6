"""Classifiers on features that are at hand: kNN, and logistic regression by scikit-learn (extra `logistic`)."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mae_core.errors import UserError
from mae_core.evaluation import logistic
from mae_core.evaluation.features import accuracy_by_k, figures_by_k, fit_whitening
from mae_core.process.installation import pip_install
from mae_probe.extraction.feature_set import Features

KS = (10, 20, 100, 200)


def knn_figures(
    train: Features, val: Features, ks: Sequence[int] = KS, whiten: bool = False
) -> dict[int, dict[str, float]]:
    """Return the figures of `mae_core.evaluation.features` by k, for each k that the training images suffice for.

    Args:
        whiten: compare whitened features; the whitening is that of the training images.

    Raises:
        UserError: labels are missing, widths differ, there are fewer training images than the least k, or the training
            features do not vary, so that they cannot be whitened.
    """
    check_pair(train, val)
    ks = [k for k in sorted(ks) if k <= len(train.labels)]
    if not ks:
        raise UserError(f"{len(train.labels)} training images are fewer than the least k; give more")
    features = _whitened(train, val) if whiten else (train.features, val.features)
    return figures_by_k(features[0], train.labels, features[1], val.labels, ks)


def _whitened(train: Features, val: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        whitening = fit_whitening(train.features)
    except ValueError as error:
        raise UserError(f"--whiten: {error}; leave it out, or use an encoder that tells images apart") from None
    return whitening(train.features), whitening(val.features)


def check_pair(train: Features, val: Features) -> None:
    """Refuse features without labels, and those of two different encoders.

    Raises:
        UserError: labels are missing, or widths differ.
    """
    if min(train.labels.min(), val.labels.min()) < 0:
        raise UserError("some images have no label; use lists of `path label` lines")
    widths = train.features.shape[1], val.features.shape[1]
    if widths[0] != widths[1]:
        raise UserError(f"training features have {widths[0]} numbers, those to score {widths[1]}: use one encoder")


def require_sklearn() -> None:
    """Raise UserError with the install command where scikit-learn is missing."""
    if not logistic.has_sklearn():
        raise UserError(f"logistic needs scikit-learn: {pip_install('mae-probe', 'logistic')}")


def logistic_figures(train: Features, val: Features, c: float = 1.0) -> dict[str, float]:
    """Score logistic regression; see `mae_core.evaluation.logistic`.

    Raises:
        UserError: scikit-learn or labels are missing, widths differ, C is not positive, or there are fewer than two
            classes.
    """
    require_sklearn()
    check_pair(train, val)
    return logistic.logistic_regression(train.features, train.labels, val.features, val.labels, c)


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
