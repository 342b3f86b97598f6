"""What a classifier predicts for each image, gathered over ranks."""

import numpy as np
from numpy.typing import NDArray

from mae_core.process import distributed


class Predictions:
    """The likeliest class of each image of a list.

    Args:
        images: length N of the list.

    Attributes:
        seen: float64 [N], 1 where an image was scored.
        labels, predicted: float64 [N], true class and likeliest class.
        probability: float64 [N], of the likeliest class.
    """

    def __init__(self, images: int) -> None:
        self.seen, self.labels, self.predicted, self.probability = np.zeros((4, images))

    def add(self, indices: NDArray[np.int64], logits: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """Keep a batch.

        Args:
            indices: int64 [n], places in the list.
            logits: [n, K]; minus infinity takes an output out of the running.
            labels: int64 [n].
        """
        logits = logits.astype(np.float64)
        highest = logits.max(axis=1)
        self.seen[indices] = 1.0
        self.labels[indices] = labels
        self.predicted[indices] = logits.argmax(axis=1)
        self.probability[indices] = 1.0 / np.exp(logits - highest[:, None]).sum(axis=1)

    def sum_over_ranks(self) -> None:
        """Bring together what the ranks have scored, on every rank; each image is one rank's."""
        for part in (self.seen, self.labels, self.predicted, self.probability):
            part[...] = distributed.sum_over_ranks(part.tolist())
