"""What an evaluation on a robustness set counts: other labels, fewer outputs, and parts of the set apart."""

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.scores import Scores


class RobustScores(Scores):
    """Counts of an evaluation, and of groups of its images.

    Args:
        labels: int64 [N], the model output that each image should give.
        absent: bool [K], outputs that do not take part.
        group_of: int64 [N], the group of each image; None where none are wanted.
        num_groups: how many groups there are.

    Attributes:
        groups: float64 [num_groups, 2], images and hits.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        absent: NDArray[np.bool_],
        group_of: NDArray[np.int64] | None = None,
        num_groups: int = 0,
    ) -> None:
        super().__init__(len(absent), len(labels))
        self.groups = np.zeros((num_groups, 2))
        self._labels, self._absent, self._group_of = labels, absent, group_of

    def add(
        self, logits: NDArray[np.floating], labels: NDArray[np.int64], indices: NDArray[np.int64] | None = None
    ) -> None:
        """Count a batch by the labels given to the constructor, whatever those of the batch are."""
        assert indices is not None  # an evaluation has them
        logits, labels = np.where(self._absent, -np.inf, logits), self._labels[indices]
        super().add(logits, labels, indices)
        if self._group_of is not None:
            groups = self._group_of[indices]
            np.add.at(self.groups[:, 0], groups, 1)
            np.add.at(self.groups[:, 1], groups[logits.argmax(axis=1) == labels], 1)

    def counts(self) -> tuple[NDArray[np.float64], ...]:
        """Return the arrays that are added over ranks."""
        return *super().counts(), self.groups
