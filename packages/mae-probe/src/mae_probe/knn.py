"""kNN on features with labels: what is refused before `mae_core.evaluation.features` scores them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.evaluation.features import figures_by_k, fit_whitening
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
