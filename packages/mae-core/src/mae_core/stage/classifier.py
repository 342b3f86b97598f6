"""What the stages that train classifiers share: weights to score, the loss by class, the figure of the best."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core.errors import CheckpointError, ConfigError
from mae_core.evaluation.class_figures import SCORED_CLASSES
from mae_core.process import log
from mae_core.stage.config.node import Config
from mae_core.weights.key_report import KeyReport
from mae_core.weights.load import fit_weights
from mae_core.weights.sources import Weights

_HEAD = "head."


def require_weights(weights: Weights | None, command: str = "-eval") -> Weights:
    """Return the weights.

    Raises:
        ConfigError: MODEL.PRETRAINED names none.
    """
    if weights is None:
        raise ConfigError(f"{command} needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    return weights


def load_classifier(
    model: nn.Layer,
    weights: Weights | None,
    *,
    settings: Mapping[str, object],
    remedy: str,
    command: str = "-eval",
    free: tuple[str, ...] = (),
) -> KeyReport:
    """Load all of a model from opened weights and log the report on its keys.

    Args:
        weights: what MODEL.PRETRAINED names.
        settings: the config keys that the head is built by and their values, for messages.
        remedy: what to do about weights without a head, for messages.
        command: what needs the weights, for messages.
        free: beginnings of the names that the weights may lack; where the head is free, nobody uses it, and nothing is
            logged of it.

    Returns:
        the report on the keys.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: something of the model is not in the file: a score of initial values means nothing.
    """
    weights = require_weights(weights, command)
    report = fit_weights(model, weights)
    missing = [name for name in report.missing if not name.startswith(free)]
    if missing and not any(name.startswith(_HEAD) for name in weights.arrays):
        raise CheckpointError(f"{report.file} was pre-trained and has no classifier yet: {remedy}")
    if missing:
        fitting = " and ".join(f"{key}={value}" for key, value in settings.items())
        raise CheckpointError(
            f"{report.file} has no {', '.join(missing)} that fits {fitting}: {remedy}, or set these as they were"
        )
    used = replace(report, missing=_without_head(report.missing), unexpected=_without_head(report.unexpected))
    log.log_lines((used if _HEAD in free else report).lines())
    return report


def _without_head(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(_HEAD)]


def class_weights_of(config: Config, labels: NDArray[np.int64]) -> Tensor | None:
    """Read what each class counts in the loss; None where all count alike.

    "balanced" is scikit-learn's: images over (classes that have some * images of the class), 1 in the mean over images.
    A class without images has none.

    Args:
        labels: int64 [N], of the training images.

    Returns:
        float32 [K].
    """
    if config.TRAIN.CLASS_WEIGHTS is None:
        return None
    images = np.bincount(labels, minlength=config.MODEL.NUM_CLASSES)
    weights = np.where(images > 0, len(labels) / (np.count_nonzero(images) * np.maximum(images, 1)), 0.0)
    log.LOGGER.info(f"class weights in the loss: {weights[images > 0].min():.4g} to {weights.max():.4g}")
    return paddle.to_tensor(weights.astype(np.float32))


def best_by_of(config: Config, labels: NDArray[np.int64]) -> str:
    """Read the figure that makes the best checkpoint.

    Args:
        labels: int64 [N], of the validation images.

    Raises:
        ConfigError: it will not be known.
    """
    best_by: str = config.TRAIN.BEST_BY or "top1"
    classes, present = config.MODEL.NUM_CLASSES, len(np.unique(labels))
    if best_by == "auroc" and (classes > SCORED_CLASSES or present < 2):
        raise ConfigError(
            f"TRAIN.BEST_BY=auroc needs validation images of two classes and at most {SCORED_CLASSES} outputs; they are"
            f" of {present}, MODEL.NUM_CLASSES={classes}: use balanced_accuracy, macro_f1, top1 or val_loss"
        )
    return best_by
