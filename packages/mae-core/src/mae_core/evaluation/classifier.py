"""Scoring a classifier on a list of images: run it over batches, write and log what was counted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from mae_core.errors import NonFiniteError
from mae_core.evaluation.class_figures import spoken
from mae_core.evaluation.scores import Scores
from mae_core.evaluation.tables import prepare_folder, write_predictions, write_tables
from mae_core.process import distributed, log
from mae_core.training.meters import spoken_speed
from mae_core.training.plan import Samples
from mae_core.training.precision import Precision, RoundedWeights


class Counts(Protocol):
    """What an evaluation counts, batch after batch, to be added over ranks."""

    def add(self, outputs: NDArray[np.floating], targets: NDArray[Any], indices: NDArray[np.int64], /) -> None:
        """Count a batch: outputs of the model and targets [N, ...], and the images' places in their list."""

    def sum_over_ranks(self) -> None:
        """Add what all ranks counted, on every rank."""

    def remark(self) -> str:
        """Say what deserves a line in the log; empty where nothing does."""


CountsT = TypeVar("CountsT", bound=Counts)


@paddle.no_grad()
def score_batches(
    model: nn.Layer,
    batches: Iterable[Samples],
    scores: CountsT,
    precision: Precision,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    name: Callable[[int], str] = "sample {}".format,
) -> CountsT | None:
    """Score a model in evaluation mode over all ranks; None when any rank was asked to stop early.

    Args:
        batches: this rank's share; samples of an index below 0 could not be read and do not count.
        scores: empty; filled and returned.
        name: names the sample of an index, for messages.

    Raises:
        NonFiniteError: an output of the model is not a finite number.
    """
    stopped, weights = False, RoundedWeights()
    for batch in batches:
        if stopped := should_stop():
            break
        with precision.autocast(weights):
            outputs = model(batch.images).astype("float32").numpy()
        used = batch.indices.numpy() >= 0
        outputs, targets, places = outputs[used], batch.labels.numpy()[used], batch.indices.numpy()[used]
        finite = np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim)))
        if not finite.all():
            raise NonFiniteError(f"the model's output for {name(int(places[~finite][0]))} is not finite")
        scores.add(outputs, targets, places)
    if distributed.sum_over_ranks([float(stopped)])[0]:
        return None
    scores.sum_over_ranks()
    if remark := scores.remark():
        log.LOGGER.info(remark)
    return scores


def prepare_report(output: str) -> None:
    """Refuse now, rather than after the scoring, an `output/eval` that cannot be written.

    Raises:
        UserError: it cannot.
    """
    if distributed.is_main():
        prepare_folder(Path(output) / "eval")


def report_scores(
    scores: Scores,
    seconds: float,
    output: str,
    folders: Mapping[int, str],
    more: Mapping[str, float] | None = None,
    path: Callable[[int], str] = str,
    logged: Sequence[str] = (),
) -> dict[str, float]:
    """Log the figures, write the tables to `output/eval`, and return the figures.

    Args:
        seconds: how long scoring took.
        folders: name of a class's folder, by class.
        more: further figures.
        path: names an image by its place in the list, for the table of predictions.
        logged: names of those further figures that are logged, too.

    Returns:
        those of `Scores.figures`, images, images_per_s, and `more`.
    """
    figures = scores.figures() | {"images": scores.images, "images_per_s": scores.images / seconds} | dict(more or {})
    further = "".join(f" {name} {figures[name]:.2f}" for name in logged)
    log.LOGGER.info(
        f"{scores.images} images: top-1 {figures['top1']:.2f} top-5 {figures['top5']:.2f}"
        f" loss {figures['val_loss']:.4f} {spoken(figures)}{further}; {spoken_speed(figures['images_per_s'])}"
    )
    if distributed.is_main():
        write_tables(Path(output) / "eval", scores, figures, folders)
        if scores.predictions:
            write_predictions(Path(output) / "eval", scores.predictions, path)
    log.LOGGER.info(f"tables in {output}/eval")
    return figures
