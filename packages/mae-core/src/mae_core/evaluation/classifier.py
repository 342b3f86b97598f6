"""Scoring a classifier on a list of images: run it over batches, write and log what was counted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import paddle
from paddle import nn

from mae_core.errors import NonFiniteError
from mae_core.evaluation.predictions import Predictions
from mae_core.evaluation.scores import Scores
from mae_core.evaluation.tables import prepare_folder, write_predictions, write_tables
from mae_core.process import distributed, log
from mae_core.training.meters import spoken_speed
from mae_core.training.precision import Precision, RoundedWeights
from mae_core.training.samples import Samples

ScoresT = TypeVar("ScoresT", bound=Scores)


@paddle.no_grad()
def score_batches(
    model: nn.Layer,
    batches: Iterable[Samples],
    scores: ScoresT,
    precision: Precision,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    name: Callable[[int], str] = "sample {}".format,
    predictions: Predictions | None = None,
) -> ScoresT | None:
    """Score a model in evaluation mode over all ranks; None when any rank was asked to stop early.

    Args:
        batches: this rank's share.
        scores: empty; filled and returned. What a stage counts beside is a subclass of `Scores`.
        name: names the sample of an index, for messages.
        predictions: empty; filled with what is predicted for each image.

    Raises:
        NonFiniteError: an output of the model is not a finite number.
    """
    stopped, scores.predictions, weights = False, predictions, RoundedWeights()
    for batch in batches:
        if stopped := should_stop():
            break
        with precision.autocast(weights):
            logits = model(batch.images).astype("float32").numpy()
        places, finite = batch.indices.numpy(), np.isfinite(logits).all(axis=1)
        if not finite.all():
            raise NonFiniteError(f"the model's output for {name(int(places[~finite][0]))} is not finite")
        scores.add(logits, batch.labels.numpy(), places)
    if distributed.sum_over_ranks([float(stopped)])[0]:
        return None
    scores.sum_over_ranks()
    if predictions:
        predictions.sum_over_ranks()
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
    predictions: Predictions | None = None,
    path: Callable[[int], str] = str,
    logged: Sequence[str] = (),
) -> dict[str, float]:
    """Log the figures, write the tables to `output/eval`, and return the figures.

    Args:
        seconds: how long scoring took.
        folders: name of a class's folder, by class.
        more: further figures.
        predictions: of each image, to be written too; `path` names an image by its place in the list.
        logged: names of those further figures that are logged, too.

    Returns:
        top1, top5 (percent), val_loss, images, images_per_s, and `more`.
    """
    figures = scores.figures() | {"images": scores.images, "images_per_s": scores.images / seconds} | dict(more or {})
    further = "".join(f" {name} {figures[name]:.2f}" for name in logged)
    log.LOGGER.info(
        f"{scores.images} images: top-1 {figures['top1']:.2f} top-5 {figures['top5']:.2f}"
        f" loss {figures['val_loss']:.4f}{further}; {spoken_speed(figures['images_per_s'])}"
    )
    if distributed.is_main():
        write_tables(Path(output) / "eval", scores, figures, folders)
        if predictions:
            write_predictions(Path(output) / "eval", predictions, path)
    log.LOGGER.info(f"tables in {output}/eval")
    return figures
