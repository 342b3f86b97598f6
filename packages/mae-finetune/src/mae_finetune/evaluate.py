"""`mae-finetune -eval`: score a classifier on a test set, exactly, over any number of ranks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from mae_core import distributed, log
from mae_core.config import Config
from mae_core.errors import NonFiniteError
from mae_core.precision import Precision
from mae_data.dataset import ListDataset
from mae_data.loader import BatchLoader, make_loader
from mae_data.sampler import EvalBatchSampler
from mae_finetune.build import build_model, eval_dataset, load_for_evaluation
from mae_finetune.class_map import map_labels, read_class_map
from mae_finetune.corruptions import SEVERITIES, corruption_errors, group_images, read_errors
from mae_finetune.report import write_report
from mae_finetune.scores import Scores


@dataclass
class EvalSet:
    """A list of images with what each counts for.

    Attributes:
        labels: int64 [N], the model output that each image should give.
        absent: bool [K], outputs that do not take part.
        groups: int64 [N], parts whose error is wanted apart; None for none.
        references: error to divide by, by corruption; empty where there are none.
    """

    dataset: ListDataset
    labels: NDArray[np.int64]
    absent: NDArray[np.bool_]
    groups: NDArray[np.int64] | None
    references: dict[str, float]


def evaluate(config: Config) -> dict[str, float]:
    """Score MODEL.PRETRAINED on the validation list and write the tables to `SAVE/eval`.

    Returns:
        top1, top5 (percent), val_loss, images, images_per_s; with ROBUST.CORRUPTIONS also each
        corruption's error and `mCE` (percent of AlexNet's).
    """
    distributed.init()
    log.setup(distributed.is_main())
    model = build_model(config)
    load_for_evaluation(config, model)
    model.eval()
    eval_set = open_eval_set(config)
    started = time.perf_counter()
    scores = score(config, model, eval_set, Precision(config.AMP, config.AMP_DTYPE, log.LOGGER.info))
    assert scores is not None  # nothing asked it to stop early
    seconds = time.perf_counter() - started
    figures = scores.figures() | {"images": scores.images, "images_per_s": scores.images / seconds}
    if eval_set.references:
        figures |= corruption_errors(scores.groups, eval_set.references)
    if distributed.is_main():
        write_report(Path(config.SAVE) / "eval", scores, figures, eval_set.dataset.images, eval_set.labels)
    _log(figures, config.SAVE)
    return figures


def _log(figures: dict[str, float], output: str) -> None:
    mce = f" mCE {figures['mCE']:.2f}" if "mCE" in figures else ""
    log.LOGGER.info(
        f"{figures['images']:.0f} images: top-1 {figures['top1']:.2f} top-5 {figures['top5']:.2f}"
        f" loss {figures['val_loss']:.4f}{mce}; {figures['images_per_s']:.0f} images/s; tables in {output}/eval"
    )


def open_eval_set(config: Config) -> EvalSet:
    """Open the validation list, with the labels and parts that ROBUST asks for."""
    robust, classes = config.ROBUST, config.MODEL.NUM_CLASSES
    dataset = eval_dataset(config, "optional" if robust.CLASS_MAP else "required")
    labels, absent = dataset.images.labels, np.zeros(classes, dtype=bool)
    if robust.CLASS_MAP:
        outputs = read_class_map(robust.CLASS_MAP, classes)
        labels = map_labels(dataset.images, outputs)
        absent[:] = True
        absent[list(outputs.values())] = False
    references = read_errors(robust.ALEXNET_ERRORS) if robust.CORRUPTIONS else {}
    groups = group_images(dataset.images, list(references)) if references else None
    return EvalSet(dataset, labels, absent, groups, references)


@paddle.no_grad()
def score(
    config: Config,
    model: nn.Layer,
    eval_set: EvalSet,
    precision: Precision,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Score a model in evaluation mode; None when any rank was asked to stop early."""
    scores = Scores(config.MODEL.NUM_CLASSES, len(eval_set.references) * SEVERITIES)
    stopped = False
    for images, _, indices in _batches(config, eval_set.dataset):
        if stopped := should_stop():
            break
        with precision.autocast():
            logits = model(images).astype("float32").numpy()
        places = indices.numpy()
        if not np.isfinite(logits).all():
            bad = places[~np.isfinite(logits).all(axis=1)][0]
            raise NonFiniteError(f"the model's output for {eval_set.dataset.images.describe(int(bad))} is not finite")
        logits[:, eval_set.absent] = -np.inf
        scores.add(logits, eval_set.labels[places], None if eval_set.groups is None else eval_set.groups[places])
    if distributed.sum_over_ranks([float(stopped)])[0]:
        return None
    scores.sum_over_ranks()
    return scores


def _batches(config: Config, dataset: ListDataset) -> BatchLoader:
    sampler = EvalBatchSampler(
        len(dataset),
        int(config.DATA.BATCH_SIZE_EVAL or config.DATA.BATCH_SIZE),
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    return make_loader(dataset, sampler, num_workers=config.DATA.NUM_WORKERS)
