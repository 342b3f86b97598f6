"""What an evaluation counts: exact sums over images, and what is predicted for each of them, added over ranks."""

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.class_figures import SCORED_CLASSES, auroc, class_figures
from mae_core.process import distributed


class Predictions:
    """What a classifier predicts for each image of a list.

    Args:
        images: length N of the list.
        num_classes: outputs K of the model.

    Attributes:
        seen: float64 [N], 1 where an image was scored.
        labels, predicted: float64 [N], true class and likeliest class.
        probability: float64 [N], of the likeliest class.
        log_odds: float32 [N, K], log(p / (1 - p)) of every class, which separates what rounds to a probability
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


class Scores:
    """Counts of one evaluation; a subclass that counts more extends `add` and `counts`.

    Args:
        num_classes: outputs K of the model.
        images: length of the list, to keep its predictions; 0 keeps counts alone, of which AUROC is none.

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
