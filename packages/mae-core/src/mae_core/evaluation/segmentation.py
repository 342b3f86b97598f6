"""Scores of a segmentation: exact counts over the pixels of all images, added over ranks."""

import numpy as np
from numpy.typing import NDArray

from mae_core.process import distributed

IGNORE = 255  # value of a mask's pixels that are not scored, where nothing else is stated


class SegmentationScores:
    """Counts of one evaluation.

    Args:
        num_classes: K.
        ignore: value of pixels in a mask that do not count.

    Attributes:
        confusion: float64 [K, K], pixels by true class and prediction.
    """

    def __init__(self, num_classes: int, ignore: int = IGNORE) -> None:
        self.ignore = ignore
        self.confusion = np.zeros((num_classes, num_classes))

    def add(self, predicted: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Count the pixels of predictions and masks of one shape, such as [H, W].

        Raises:
            ValueError: shapes differ, or a value is neither a class nor `ignore`.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"the prediction has shape {predicted.shape}, the mask {truth.shape}")
        classes = len(self.confusion)
        counted = truth != self.ignore
        true, found = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
        if true.size and not (min(true.min(), found.min()) >= 0 and max(true.max(), found.max()) < classes):
            raise ValueError(f"values outside 0 to {classes - 1}, which are not {self.ignore} either")
        self.confusion += np.bincount(true * classes + found, minlength=classes**2).reshape(classes, classes)

    def sum_over_ranks(self) -> None:
        """Add the counts of all ranks, on every rank."""
        total = distributed.sum_over_ranks(self.confusion.ravel().tolist())
        self.confusion[...] = np.asarray(total).reshape(self.confusion.shape)

    def iou(self) -> NDArray[np.float64]:
        """Return the intersection over union of each class, [K]; NaN where neither mask nor prediction has it."""
        hits = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    def figures(self) -> dict[str, float]:
        """Return mean IoU over the classes that occur, pixel accuracy and mean class accuracy, in percent."""
        hits, true = np.diag(self.confusion), self.confusion.sum(axis=1)
        if not true.sum():
            return {"miou": 0.0, "pixel_accuracy": 0.0, "class_accuracy": 0.0}
        return {
            "miou": 100.0 * float(np.nanmean(self.iou())),
            "pixel_accuracy": 100.0 * float(hits.sum() / true.sum()),
            "class_accuracy": 100.0 * float((hits[true > 0] / true[true > 0]).mean()),
        }
