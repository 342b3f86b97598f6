"""From config to model, weights and data: what training and evaluation share."""

import numpy as np
import paddle

from mae_core.models import VisionTransformer
from mae_core.stage.classifier import load_classifier
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import encoder_of, statistics_of
from mae_core.stage.config.to_data_arguments import cropping_of, images_of, input_of
from mae_core.weights.key_report import KeyReport
from mae_core.weights.sources import Weights
from mae_data.loading.dataset import ListDataset
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.pipelines import make_finetune_transform
from mae_finetune.partial_tuning import freeze_below


def build_model(config: Config) -> VisionTransformer:
    """Build the classifier of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    m = config.MODEL
    with values_from_config():
        model = VisionTransformer(
            num_classes=m.NUM_CLASSES, global_pool=m.GLOBAL_POOL, **encoder_of(config, m.DROPPATH)
        )
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    if config.TRAIN.PARTIAL is not None:
        freeze_below(model, config.TRAIN.PARTIAL)
    return model


def load_for_evaluation(config: Config, weights: Weights | None, model: VisionTransformer) -> KeyReport:
    """Load the weights, which must be a whole classifier; see `load_classifier`."""
    m = config.MODEL
    return load_classifier(
        model,
        weights,
        settings={"MODEL.NUM_CLASSES": m.NUM_CLASSES, "MODEL.GLOBAL_POOL": m.GLOBAL_POOL},
        remedy="fine-tune it first",
    )


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the fine-tuning augmentation."""
    d, t = config.DATA, config.TRAIN
    mean, std = statistics_of(config)
    std_in_digits = np.format_float_positional(t.RAND_AUGMENT_STD, trim="0")  # a policy has no exponents
    policy = f"rand-m{t.RAND_AUGMENT_MAGNITUDE}-n{t.RAND_AUGMENT_LAYERS}-mstd{std_in_digits}-inc1"
    with values_from_config():
        transform = make_finetune_transform(
            **cropping_of(config),
            mean=mean,
            std=std,
            rand_augment=policy if t.RAND_AUGMENT else None,
            reprob=t.RANDOM_ERASE_PROB,
            recount=t.RANDOM_ERASE_COUNT,
        )
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, **images_of(config, training=True))


def eval_dataset(
    config: Config, labels: str = "required", list_name: str | None = None, *, dropping: bool = False
) -> ListDataset:
    """Open a list (default: the validation list) with the evaluation transform.

    Args:
        dropping: whether DATA.ON_ERROR holds; see `images_of`.
    """
    with values_from_config():
        transform = ModelInput(**input_of(config)).transform
    images = images_of(config, labels, dropping=dropping)
    return ListDataset(list_file=list_name or config.DATA.VAL_LIST, transform=transform, **images)
