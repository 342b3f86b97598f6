"""What the tasks with a row of labels or numbers beside each image share: lists, counts over ranks, tables, the log."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.tables import write_scores, write_table
from mae_core.process import distributed, log
from mae_core.stage.config.node import Config
from mae_core.training.meters import spoken_speed
from mae_data.loading.dataset import ListDataset, OpenTargets
from mae_data.sources.annotated_list import open_targets
from mae_data.sources.list_file import CLASSES
from mae_finetune.build import eval_dataset, train_dataset
from mae_finetune.class_names import listed_names
from mae_finetune.tasks.task import Task


class RowTask(Task):
    """A task with a row of MODEL.NUM_CLASSES labels or numbers beside each image.

    Attributes:
        are_labels: whether they are labels.
    """

    are_labels: ClassVar[bool]

    def train_dataset(self, config: Config) -> ListDataset:
        """Open the training list."""
        return train_dataset(config, self._open_targets(config))

    def eval_dataset(self, config: Config, list_name: str | None = None, *, dropping: bool = False) -> ListDataset:
        """Open a list."""
        targets = self._open_targets(config)
        return eval_dataset(config, list_name=list_name, dropping=dropping, open_targets=targets)

    def _open_targets(self, config: Config) -> OpenTargets:
        names, file = listed_names(config) or (), config.DATA.CLASS_NAMES or CLASSES
        return partial(
            open_targets, count=config.MODEL.NUM_CLASSES, labels=self.are_labels, names=names, names_file=file
        )


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


def report_figures(
    figures: Mapping[str, float],
    spoken: Mapping[str, str],
    images: int,
    seconds: float,
    output: str,
    kind: str,
    names: Sequence[str],
    each: Mapping[str, NDArray[np.float64]],
) -> dict[str, float]:
    """Log the figures, write `scores.json` and `per_KIND.csv` to `output/eval`, and return the figures.

    Args:
        spoken: how those that are logged are said.
        images: that were scored.
        seconds: how long scoring took.
        kind: what is said of an image: "label" or "number".
        names: of each of T.
        each: columns of the table, [T].

    Returns:
        the figures, images and images_per_s.
    """
    whole = {**figures, "images": images, "images_per_s": images / seconds}
    words = ", ".join(said.format(figures[name]) for name, said in spoken.items())
    log.LOGGER.info(f"{images} images: {words}; {spoken_speed(whole['images_per_s'])}")
    folder = Path(output) / "eval"
    if distributed.is_main():
        write_scores(folder, whole)
        rows = ([i, name, *(_cell(column[i]) for column in each.values())] for i, name in enumerate(names))
        write_table(folder / f"per_{kind}.csv", [[kind, "name", *each], *rows])
    log.LOGGER.info(f"tables in {folder}")
    return whole


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
