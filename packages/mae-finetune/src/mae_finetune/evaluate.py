"""`mae-finetune -eval`: score a classifier on a test set, exactly, over any number of ranks."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from mae_core.evaluation import classifier
from mae_core.evaluation.classifier import prepare_report, report_scores
from mae_core.process import distributed, log
from mae_core.stage.classifier import require_weights
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import eval_sampling_of, loading_of
from mae_core.training.precision import Precision
from mae_core.weights.sources import Weights
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_eval_loader
from mae_finetune.build import build_model, eval_dataset, load_for_evaluation
from mae_finetune.class_map import map_labels, read_class_map
from mae_finetune.corruptions import SEVERITIES, corruption_errors, group_images, read_errors, require_every_group
from mae_finetune.robust_scores import RobustScores


@dataclass
class EvalSet:
    """A list of images with what each counts for.

    Attributes:
        labels: int64 [N], the model output that each image should give.
        absent: bool [K], outputs that do not take part.
        group_of: int64 [N], the part of the list that each image counts for; None where none are told apart.
        references: error to divide by, by corruption; empty where there are none.
    """

    dataset: ListDataset
    labels: NDArray[np.int64]
    absent: NDArray[np.bool_]
    group_of: NDArray[np.int64] | None
    references: dict[str, float]


def evaluate(config: Config, weights: Weights | None) -> dict[str, float]:
    """Score weights on the validation list and write the tables to `SAVE/eval`.

    Args:
        weights: of MODEL.PRETRAINED; None where it names none.

    Returns:
        what `report_scores` does; with ROBUST.CORRUPTIONS also each corruption's error and `mCE` (percent of
        AlexNet's).
    """
    distributed.init()
    log.setup(distributed.is_main())
    weights, model = require_weights(weights), build_model(config)
    eval_set = open_eval_set(config)
    log.log_lines(eval_set.dataset.images.notes)
    load_for_evaluation(config, weights, model)
    model.eval()
    prepare_report(config.SAVE)
    started = time.perf_counter()
    images = eval_set.dataset.images
    scores = score_eval_set(config, model, eval_set, precision_of(config))
    assert scores is not None  # nothing asked it to stop early
    seconds = time.perf_counter() - started
    errors = corruption_errors(scores.groups, eval_set.references) if eval_set.references else {}
    return report_scores(
        scores,
        seconds,
        config.SAVE,
        images.class_folders(eval_set.labels),
        errors,
        images.path,
        logged=["mCE"] if errors else [],
    )


def open_eval_set(config: Config, *, dropping: bool = False) -> EvalSet:
    """Open the validation list, with the labels and parts that ROBUST asks for.

    Args:
        dropping: whether DATA.ON_ERROR holds; see `images_of`.
    """
    robust, classes = config.ROBUST, config.MODEL.NUM_CLASSES
    dataset = eval_dataset(config, "optional" if robust.CLASS_MAP else "required", dropping=dropping)
    labels, absent = dataset.images.labels, np.zeros(classes, dtype=bool)
    if robust.CLASS_MAP:
        outputs = read_class_map(robust.CLASS_MAP, classes)
        labels = map_labels(dataset.images, outputs)
        absent[:] = True
        absent[list(outputs.values())] = False
    references = read_errors(robust.ALEXNET_ERRORS) if robust.CORRUPTIONS else {}
    group_of = None
    if references:
        group_of = group_images(dataset.images, list(references))
        require_every_group(group_of, list(references))
    return EvalSet(dataset, labels, absent, group_of, references)


def score_eval_set(
    config: Config,
    model: nn.Layer,
    eval_set: EvalSet,
    precision: Precision,
    should_stop: Callable[[], bool] = lambda: False,
) -> RobustScores | None:
    """Score a model in evaluation mode; None when any rank was asked to stop early."""
    groups = len(eval_set.references) * SEVERITIES
    return classifier.score_batches(
        model,
        make_eval_loader(eval_set.dataset, eval_sampling_of(config), loading_of(config), should_stop),
        RobustScores(eval_set.labels, eval_set.absent, eval_set.group_of, groups),
        precision,
        should_stop=should_stop,
        name=eval_set.dataset.images.describe,
    )
