"""From config to model and weights: what training, evaluation, prediction and export share."""

import paddle

from mae_core.models import ViTEncoder
from mae_core.stage.classifier import load_classifier
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.weights.key_report import KeyReport
from mae_core.weights.sources import Weights
from mae_finetune.partial_tuning import freeze_below
from mae_finetune.tasks import task_of


def build_model(config: Config) -> ViTEncoder:
    """Build the model of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    with values_from_config():
        model = task_of(config).build(config)
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    if config.TRAIN.PARTIAL is not None:
        freeze_below(model, config.TRAIN.PARTIAL)
    return model


def load_for_evaluation(config: Config, weights: Weights | None, model: ViTEncoder) -> KeyReport:
    """Load the weights, which must be those of a whole model; see `load_classifier`."""
    settings = {key: config.MODEL[key.partition(".")[2]] for key in task_of(config).head_keys}
    return load_classifier(model, weights, settings=settings, remedy="fine-tune it first")
