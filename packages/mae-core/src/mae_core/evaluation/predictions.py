"""What a classifier predicts for each image, gathered over ranks."""

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.class_figures import SCORED_CLASSES, auroc
from mae_core.process import distributed


class Predictions:
    """What is said of each image of a list.

    Args:
        images: length N of the list.
        num_classes: outputs K of the model.

    Attributes:
        seen: float64 [N], 1 where an image was scored.
        labels, predicted: float64 [N], true class and likeliest class.
        probability: float64 [N], of the likeliest class.
        log_odds: float32 [N, K], log(p / (1 - p)) of every class, which tells apart what rounds to a probability
            of 1; [N, 0] for more than SCORED_CLASSES classes.
    """

    def __init__(self, images: int, num_classes: int) -> None:
        self.seen, self.labels, self.predicted, self.probability = np.zeros((4, images))
        self.log_odds = np.zeros((images, num_classes if num_classes <= SCORED_CLASSES else 0), np.float32)

    def add(self, indices: NDArray[np.int64], logits: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """Keep a batch.

        Args:
            indices: int64 [n], places in the list.
            logits: [n, K]; minus infinity takes an output out of the running.
            labels: int64 [n].
        """
        exact = logits.astype(np.float64)
        highest = exact.max(axis=1)
        self.seen[indices] = 1.0
        self.labels[indices] = labels
        self.predicted[indices] = exact.argmax(axis=1)
        self.probability[indices] = 1.0 / np.exp(exact - highest[:, None]).sum(axis=1)
        if self.log_odds.shape[1]:
            self.log_odds[indices] = _log_odds(exact)

    def sum_over_ranks(self) -> None:
        """Bring together what the ranks have scored, on every rank; each image is one rank's."""
        for part in (self.seen, self.labels, self.predicted, self.probability):
            part[...] = distributed.sum_over_ranks(part.tolist())
        if self.log_odds.size:
            self.log_odds = distributed.sum_array(self.log_odds)

    def probabilities(self) -> NDArray[np.float64]:
        """Return the probabilities [N, K] of all classes; [N, 0] where they are not kept."""
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-self.log_odds.astype(np.float64)))

    def figures(self) -> dict[str, float]:
        """Return the area under the ROC curve; see `auroc`. Nothing where log-odds are not kept."""
        seen = self.seen > 0
        return auroc(self.log_odds[seen], self.labels[seen].astype(np.int64)) if self.log_odds.shape[1] else {}


def _log_odds(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    below, rows, best = logits - logits.max(axis=1, keepdims=True), np.arange(len(logits)), logits.argmax(axis=1)
    shares = np.exp(below)
    others = shares.sum(axis=1, keepdims=True) - shares
    shares[rows, best] = 0.0
    others[rows, best] = shares.sum(axis=1)  # the difference above would round to 0
    with np.errstate(divide="ignore"):
        return below - np.log(others)
