"""Logistic regression on features, by scikit-learn, which need not be there."""

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.evaluation.class_figures import SCORED_CLASSES, label_figures
from mae_core.process import log

MAX_ITER = 1000


def has_sklearn() -> bool:
    """Return whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


def logistic_regression(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    val: NDArray[np.float32],
    val_labels: NDArray[np.int64],
    c: float = 1.0,
) -> dict[str, float]:
    """Score multinomial logistic regression (L2, lbfgs): top1 in percent and what counts each class alike.

    Features are standardised by the training images' mean and deviation.

    Args:
        train, val: features [N, D] and [M, D].
        train_labels, val_labels: classes, from 0.
        c: inverse strength of the penalty.

    Raises:
        UserError: C is not positive, or there are fewer than two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not c > 0:
        raise UserError(f"C={c} is not positive")
    if len(np.unique(train_labels)) < 2:
        raise UserError("the training images are all of one class; logistic regression needs two or more")
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(C=c, max_iter=MAX_ITER).fit((train - mean) / std, train_labels)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        log.LOGGER.warning(f"logistic regression did not converge in {MAX_ITER} iterations; try a smaller --C")
    inputs = (val - mean) / std
    scores = _by_label(model.predict_proba(inputs), model.classes_, val_labels)
    return label_figures(val_labels, model.predict(inputs), scores)


def _by_label(
    probabilities: NDArray[Any], classes: NDArray[np.int64], val_labels: NDArray[np.int64]
) -> NDArray[np.floating] | None:
    """Return probabilities [M, K] by label, 0 for those that no training image has; None for more than are scored."""
    width = int(max(classes.max(), val_labels.max())) + 1
    if width > SCORED_CLASSES:
        return None
    scores = np.zeros((len(probabilities), width))
    scores[:, classes] = probabilities
    return scores
