"""Scores of rows of labels or numbers.

Labels: mean average precision, F1, area under the ROC curve, in percent. Numbers: mean absolute error, root mean square
error, R2, each beside what the mean alone would give.
"""

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.class_figures import area

THRESHOLD = 0.5  # of a probability, from which on a label is said

Numbers = NDArray[np.float64]


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the sum of (R_n - R_(n-1)) P_n over the thresholds that the scores are, from 0 to 1.

    R and P are recall and precision of what scores at least the threshold; no interpolation (scikit-learn's).

    Args:
        scores: [N], higher where the label is likelier.
        positive: [N], some of it true.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of images that score alike
    found = hits[ends]
    return float((np.diff(found, prepend=0) * (found / (ends + 1))).sum() / found[-1])


def binary_cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Return the mean over images and labels."""
    return float((np.logaddexp(0.0, logits) - labels * logits).mean())


def label_table(logits: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what is found of each label, [K]: percent, NaN where it says nothing.

    Args:
        logits, labels: [N, K], labels 0 or 1.

    Returns:
        images that have it, said of them, precision, recall, f1, average_precision, auroc.
    """
    said, true = logits >= 0, labels > 0  # a probability of one half is a logit of 0
    hits, images, predicted = (x.sum(axis=0).astype(np.float64) for x in (said & true, true, said))
    nothing = np.full(len(hits), np.nan)
    parts = {"precision": (hits, predicted), "recall": (hits, images), "f1": (2 * hits, images + predicted)}
    shares = {name: np.divide(a, b, out=nothing.copy(), where=b > 0) for name, (a, b) in parts.items()}
    ranked = {
        "average_precision": [
            average_precision(logits[:, k], true[:, k]) if images[k] else np.nan for k in range(len(hits))
        ],
        "auroc": [area(logits[:, k], true[:, k]) if 0 < images[k] < len(true) else np.nan for k in range(len(hits))],
    }
    percent = {name: 100.0 * np.asarray(values) for name, values in {**shares, **ranked}.items()}
    return {"images": images, "said": predicted, **percent}


def multilabel_figures(logits: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, float]:
    """Return the figures of an evaluation; means over the labels of which each says something, 0 where none does.

    Args:
        logits, labels: [N, K].

    Returns:
        map (mean average precision, of labels that some image has), map_of_chance (of the same labels the share of
        images that have it, which is what an order by chance gives), macro_f1 (of those that some image has or was
        said to have) and micro_f1 at THRESHOLD, auroc (of those that some and not all have), val_loss.
    """
    if not len(logits):
        return dict.fromkeys(("map", "map_of_chance", "macro_f1", "micro_f1", "auroc", "val_loss"), 0.0)
    table = label_table(logits, labels)
    named = {"map": "average_precision", "macro_f1": "f1", "auroc": "auroc"}
    means = {name: table[column][~np.isnan(table[column])] for name, column in named.items()}
    shares = labels.mean(axis=0)
    hits = float(((logits >= 0) & (labels > 0)).sum())
    return {
        **{name: float(values.mean()) if len(values) else 0.0 for name, values in means.items()},
        "map_of_chance": 100.0 * float(shares.sum()) / max(1, int(np.count_nonzero(shares))),
        "micro_f1": 200.0 * hits / max(1.0, float(table["images"].sum() + table["said"].sum())),
        "val_loss": binary_cross_entropy(logits, labels),
    }


def number_table(said: Numbers, true: Numbers, mean: Numbers, std: Numbers) -> dict[str, Numbers]:
    """Return what is found of each number, [T].

    Args:
        said, true: [N, T], N at least 1.
        mean, std: [T], of the training targets.

    Returns:
        mae, rmse, r2 (1 - squared errors over those of the mean of `true`; of constants 1 where all are met, else
        0); mae_of_mean and rmse_of_mean, of saying the training mean of every image; val_loss, the smooth L1 loss of
        standardised numbers.
    """
    errors, spread = said - true, ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    squares = (errors**2).sum(axis=0)
    r2 = np.where(squares == 0, 1.0, 0.0)
    np.divide(spread - squares, spread, out=r2, where=spread > 0)
    far = np.abs(errors / std)
    return {
        "mae": np.abs(errors).mean(axis=0),
        "rmse": np.sqrt((errors**2).mean(axis=0)),
        "r2": r2,
        "mae_of_mean": np.abs(mean - true).mean(axis=0),
        "rmse_of_mean": np.sqrt(((mean - true) ** 2).mean(axis=0)),
        "val_loss": np.where(far < 1, far**2 / 2, far - 0.5).mean(axis=0),
    }
