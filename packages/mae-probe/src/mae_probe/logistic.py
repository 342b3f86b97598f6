"""Logistic regression on features, by scikit-learn (extra `logistic`)."""

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.evaluation.class_figures import SCORED_CLASSES, label_figures
from mae_core.process import log
from mae_probe.extraction.feature_set import Features
from mae_probe.knn import check_pair

MAX_ITER = 1000


def require_sklearn() -> None:
    """Raise UserError with the install command where scikit-learn is missing."""
    if find_spec("sklearn") is None:
        raise UserError('logistic needs scikit-learn: pip install "mae-probe[logistic]"')


def logistic_figures(train: Features, val: Features, c: float = 1.0) -> dict[str, float]:
    """Score multinomial logistic regression (L2, lbfgs): top1 in percent and what counts each class alike.

    Features are standardised by the training images' mean and deviation.

    Args:
        c: inverse strength of the penalty.

    Raises:
        UserError: scikit-learn is missing, C is not positive, or there are fewer than two classes.
    """
    require_sklearn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    check_pair(train, val)
    if not c > 0:
        raise UserError(f"C={c} is not positive")
    if len(np.unique(train.labels)) < 2:
        raise UserError("the training images are all of one class; logistic regression needs two or more")
    mean, std = train.features.mean(axis=0), train.features.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(C=c, max_iter=MAX_ITER).fit((train.features - mean) / std, train.labels)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        log.LOGGER.warning(f"logistic regression did not converge in {MAX_ITER} iterations; try a smaller --C")
    inputs = (val.features - mean) / std
    return label_figures(val.labels, model.predict(inputs), _by_label(model.predict_proba(inputs), model.classes_, val))


def _by_label(
    probabilities: NDArray[np.floating], classes: NDArray[np.int64], val: Features
) -> NDArray[np.floating] | None:
    """Return probabilities [M, K] by label, 0 for those that no training image has; None for more than are scored."""
    width = int(max(classes.max(), val.labels.max())) + 1
    if width > SCORED_CLASSES:
        return None
    scores = np.zeros((len(probabilities), width))
    scores[:, classes] = probabilities
    return scores
