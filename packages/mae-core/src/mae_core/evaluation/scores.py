"""What an evaluation counts: exact sums over images, added over ranks."""

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.class_figures import class_figures
from mae_core.evaluation.predictions import Predictions
from mae_core.process import distributed


class Scores:
    """Counts of one evaluation; a subclass that counts more extends `add` and `counts`.

    Args:
        num_classes: outputs K of the model.
        images: length of the list, to keep what is said of each image; 0 keeps counts alone, of which AUROC is none.

    Attributes:
        confusion: float64 [K, K], images by true class and prediction.
        top5_hits: float64 [K], images by true class whose class is among the five likeliest.
        loss_sum: sum of the cross-entropies.
        predictions: of each image, where these are kept.
    """

    def __init__(self, num_classes: int, images: int = 0) -> None:
        self.confusion = np.zeros((num_classes, num_classes))
        self.top5_hits = np.zeros(num_classes)
        self.loss_sum = np.zeros(1)
        self.predictions = Predictions(images, num_classes) if images else None

    def add(
        self, logits: NDArray[np.floating], labels: NDArray[np.int64], indices: NDArray[np.int64] | None = None
    ) -> None:
        """Count a batch.

        Args:
            logits: [N, K]; minus infinity takes an output out of the running.
            labels: int64 [N].
            indices: int64 [N], which samples these are, for subclasses that know more of each.
        """
        logits = logits.astype(np.float64)
        rows = np.arange(len(labels))
        own = logits[rows, labels][:, None]
        # Ties go to the lower class, for the first place and for the fifth: the result has no other order.
        tied_before = (logits == own) & (np.arange(logits.shape[1]) < labels[:, None])
        rank = ((logits > own) | tied_before).sum(axis=1)
        np.add.at(self.confusion, (labels, logits.argmax(axis=1)), 1)
        np.add.at(self.top5_hits, labels[rank < 5], 1)
        highest = logits.max(axis=1, keepdims=True)
        if self.predictions and indices is not None:
            self.predictions.add(indices, logits, labels)
        self.loss_sum += (highest + np.log(np.exp(logits - highest).sum(axis=1, keepdims=True)) - own).sum()

    def counts(self) -> tuple[NDArray[np.float64], ...]:
        """Return the arrays that are added over ranks."""
        return self.confusion, self.top5_hits, self.loss_sum

    def sum_over_ranks(self) -> None:
        """Add the counts of all ranks, on every rank."""
        parts = self.counts()
        flat = np.concatenate([part.ravel() for part in parts])
        total = np.asarray(distributed.sum_over_ranks(flat.tolist()))
        for part, values in zip(parts, np.split(total, np.cumsum([part.size for part in parts])[:-1]), strict=True):
            part[...] = values.reshape(part.shape)
        if self.predictions:
            self.predictions.sum_over_ranks()

    @property
    def images(self) -> int:
        """Images counted."""
        return int(self.confusion.sum())

    def figures(self) -> dict[str, float]:
        """Return top-1 and top-5 accuracy, the mean cross-entropy, and what counts each class alike.

        Returns:
            top1, top5 (percent), val_loss, balanced_accuracy and macro_f1, and auroc where it is known; see
            `class_figures`.
        """
        n = max(1, self.images)
        hits = {"top1": np.trace(self.confusion), "top5": self.top5_hits.sum()}
        shares = {name: 100.0 * float(h) / n for name, h in hits.items()}
        of_all = self.predictions.figures() if self.predictions else {}
        return {**shares, "val_loss": float(self.loss_sum[0]) / n, **class_figures(self.confusion), **of_all}

    def remark(self) -> str:
        """Say that all images are taken for one class, where they are."""
        if (only := self.only_class()) is None:
            return ""
        return (
            f"all {self.images} images are taken for class {only}: top-1 is no more than the share of its images;"
            " where classes differ in size, weigh them in the loss, or train longer"
        )

    def only_class(self) -> int | None:
        """Return the class that all images are taken for, though they are of several; None where there is none."""
        taken = np.flatnonzero(self.confusion.sum(axis=0))
        return int(taken[0]) if len(taken) == 1 and (self.confusion.sum(axis=1) > 0).sum() > 1 else None
