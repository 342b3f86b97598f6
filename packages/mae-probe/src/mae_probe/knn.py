"""kNN on features with labels: what is refused before `mae_core.evaluation.knn` scores them."""

from collections.abc import Sequence

from mae_core.errors import UserError
from mae_core.evaluation import knn
from mae_probe.feature_set import Features

KS = (10, 20, 100, 200)


def knn_accuracy(train: Features, val: Features, ks: Sequence[int] = KS) -> dict[int, float]:
    """Return the top-1 accuracy in percent by k, for each k that the training images suffice for.

    Raises:
        UserError: labels are missing, widths differ, or there are fewer training images than the least k.
    """
    check_pair(train, val)
    ks = [k for k in sorted(ks) if k <= len(train.labels)]
    if not ks:
        raise UserError(f"{len(train.labels)} training images are fewer than the least k; give more")
    return knn.knn_accuracy(train.features, train.labels, val.features, val.labels, ks)


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
