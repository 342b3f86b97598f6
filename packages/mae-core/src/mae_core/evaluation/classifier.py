"""Scoring a classifier on a list of images: run it over batches, write and log what was counted."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from mae_core import distributed, log
from mae_core.errors import NonFiniteError
from mae_core.evaluation.scores import Scores
from mae_core.evaluation.tables import prepare_folder, write_tables
from mae_core.training.batch import Batch
from mae_core.training.meters import spoken_speed
from mae_core.training.precision import Precision


@paddle.no_grad()
def score(
    model: nn.Layer,
    batches: Iterable[Batch],
    scores: Scores,
    precision: Precision,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    labels: NDArray[np.int64] | None = None,
    absent: NDArray[np.bool_] | None = None,
    groups: NDArray[np.int64] | None = None,
    name: Callable[[int], str] = "sample {}".format,
) -> Scores | None:
    """Score a model in evaluation mode over all ranks; None when any rank was asked to stop early.

    Args:
        batches: this rank's share.
        scores: empty; filled and returned.
        labels, groups: by index, instead of the batch's labels; parts whose error is wanted apart.
        absent: bool [K], outputs that do not take part.
        name: names the sample of an index, for messages.

    Raises:
        NonFiniteError: an output of the model is not a finite number.
    """
    stopped = False
    for batch in batches:
        if stopped := should_stop():
            break
        with precision.autocast():
            logits = model(batch.images).astype("float32").numpy()
        places, finite = batch.indices.numpy(), np.isfinite(logits).all(axis=1)
        if not finite.all():
            raise NonFiniteError(f"the model's output for {name(int(places[~finite][0]))} is not finite")
        if absent is not None:
            logits[:, absent] = -np.inf
        truth = batch.labels.numpy() if labels is None else labels[places]
        scores.add(logits, truth, None if groups is None else groups[places])
    if distributed.sum_over_ranks([float(stopped)])[0]:
        return None
    scores.sum_over_ranks()
    return scores


def prepare_report(output: str) -> None:
    """Refuse now, rather than after the scoring, an `output/eval` that cannot be written.

    Raises:
        UserError: it cannot.
    """
    if distributed.is_main():
        prepare_folder(Path(output) / "eval")


def report_scores(
    scores: Scores, seconds: float, output: str, folders: Mapping[int, str], more: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Log the figures, write the tables to `output/eval`, and return the figures.

    Args:
        seconds: how long scoring took.
        folders: name of a class's folder, by class.
        more: further figures; `mCE` is logged.

    Returns:
        top1, top5 (percent), val_loss, images, images_per_s, and `more`.
    """
    figures = scores.figures() | {"images": scores.images, "images_per_s": scores.images / seconds} | dict(more or {})
    mce = f" mCE {figures['mCE']:.2f}" if "mCE" in figures else ""
    log.LOGGER.info(
        f"{scores.images} images: top-1 {figures['top1']:.2f} top-5 {figures['top5']:.2f}"
        f" loss {figures['val_loss']:.4f}{mce}; {spoken_speed(figures['images_per_s'])}"
    )
    if distributed.is_main():
        write_tables(Path(output) / "eval", scores, figures, folders)
    log.LOGGER.info(f"tables in {output}/eval")
    return figures
