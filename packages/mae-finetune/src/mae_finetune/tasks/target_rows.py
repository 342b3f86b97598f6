"""What the tasks with a row of numbers beside each image share: the lists, the counts over ranks, the tables."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.tables import write_table
from mae_core.process import distributed
from mae_core.stage.config.node import Config
from mae_data.loading.dataset import ListDataset, OpenTargets
from mae_data.sources.annotated_list import open_targets
from mae_finetune.class_names import listed_names
from mae_finetune.datasets import eval_dataset, train_dataset


def open_rows(config: Config, labels: bool) -> OpenTargets:
    """Return what opens lists of MODEL.NUM_CLASSES labels or numbers beside each image."""
    return partial(open_targets, count=config.MODEL.NUM_CLASSES, labels=labels, names=listed_names(config) or ())


def train_rows(config: Config, labels: bool) -> ListDataset:
    """Open the training list; see `open_rows`."""
    return train_dataset(config, open_rows(config, labels))


def eval_rows(config: Config, labels: bool, list_name: str | None = None, dropping: bool = False) -> ListDataset:
    """Open a list as evaluation does; see `open_rows` and `eval_dataset`."""
    return eval_dataset(config, list_name=list_name, dropping=dropping, open_targets=open_rows(config, labels))


class Rows:
    """Outputs and targets of all images of a list.

    Args:
        images: N of the list.
        width: T, labels or numbers of an image.

    Attributes:
        outputs, targets: float32 [N, T]; zeros where an image was not scored.
        seen: float32 [N], 1 where an image was scored.
    """

    def __init__(self, images: int, width: int) -> None:
        self.outputs, self.targets = np.zeros((2, images, width), np.float32)
        self.seen = np.zeros(images, np.float32)

    def add(self, outputs: NDArray[np.floating], targets: NDArray[np.floating], indices: NDArray[np.int64], /) -> None:
        """Keep a batch."""
        self.outputs[indices], self.targets[indices], self.seen[indices] = outputs, targets, 1.0

    def sum_over_ranks(self) -> None:
        """Bring together what the ranks have scored, on every rank; each image is one rank's."""
        self.outputs, self.targets, self.seen = map(distributed.sum_array, (self.outputs, self.targets, self.seen))

    def remark(self) -> str:
        """Say nothing."""
        return ""

    @property
    def scored(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Outputs and targets of the images that were scored, float64 [n, T]."""
        seen = self.seen > 0
        return self.outputs[seen].astype(np.float64), self.targets[seen].astype(np.float64)

    def write(
        self,
        path: Path,
        names: list[str],
        say: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        name: Callable[[int], str],
    ) -> None:
        """Write a line per image: index, path, and of each of T what is true and what is said.

        Args:
            say: turns outputs [n, T] into what the table holds.
            name: names the image of a place in the list.
        """
        said, true = say(self.outputs.astype(np.float64)), self.targets
        heads = (word for each in names for word in (f"true_{each}", f"said_{each}"))

        def rows() -> Iterable[list[object]]:
            yield ["index", "image", *heads]
            for i in self.seen.nonzero()[0].tolist():
                pairs = zip(true[i].tolist(), said[i].tolist(), strict=True)
                yield [i, name(i), *(f"{value:.9g}" for pair in pairs for value in pair)]

        if distributed.is_main():
            write_table(path, rows())
