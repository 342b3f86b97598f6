"""From config to images: the training list augmented, other lists as evaluation prepares them."""

import numpy as np

from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import statistics_of
from mae_core.stage.config.to_data_arguments import cropping_of, images_of, input_of
from mae_data.loading.dataset import ListDataset, OpenTargets
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.pipelines import make_finetune_transform


def train_dataset(config: Config, open_targets: OpenTargets | None = None) -> ListDataset:
    """Open the training list with the fine-tuning augmentation.

    Args:
        open_targets: opens a list with other targets than a class.
    """
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
    images = images_of(config, training=True)
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, open_targets=open_targets, **images)


def eval_dataset(
    config: Config,
    labels: str = "required",
    list_name: str | None = None,
    *,
    dropping: bool = False,
    open_targets: OpenTargets | None = None,
) -> ListDataset:
    """Open a list (default: the validation list) with the evaluation transform.

    Args:
        dropping: whether DATA.ON_ERROR holds; see `images_of`.
        open_targets: see `train_dataset`.
    """
    with values_from_config():
        transform = ModelInput(**input_of(config)).transform
    images, list_file = images_of(config, labels, dropping=dropping), list_name or config.DATA.VAL_LIST
    return ListDataset(list_file=list_file, transform=transform, open_targets=open_targets, **images)
