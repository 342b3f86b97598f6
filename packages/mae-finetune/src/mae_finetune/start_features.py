"""What a classifier's start makes of images, and the images themselves, for the yardsticks of a run."""

from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray

from mae_core.evaluation.raw_pixels import pixel_features
from mae_core.models import VisionTransformer, ViTEncoder
from mae_core.stage import yardsticks
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_data_arguments import eval_sampling_of, loading_of
from mae_core.training.precision import Precision
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import EvalBatchSampler
from mae_finetune.build import eval_dataset


def measure_start(config: Config, model: ViTEncoder, images: ListDataset, precision: Precision, folder: Path) -> None:
    """Write what logistic regression makes of a model that was not trained yet, and of raw pixels.

    Args:
        images: to train.
        folder: of the run.
    """
    if not config.VALIDATE_FREQ or config.ROBUST.CLASS_MAP:
        return
    scored = eval_dataset(config, list_name=config.DATA.VAL_LIST, dropping=True)
    if not yardsticks.are_affordable(len(images), len(scored), config.MODEL.NUM_CLASSES):
        return  # a long training list is not opened again
    assert isinstance(model, VisionTransformer)
    plain = eval_dataset(config, list_name=config.DATA.TRAIN_LIST, dropping=True)
    train, val = (_encode(config, model, dataset, precision) for dataset in (plain, scored))
    yardsticks.measure(folder, train[0], train[1], val[0], val[1])


@paddle.no_grad()
def _encode(
    config: Config, model: VisionTransformer, dataset: ListDataset, precision: Precision
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return the features [N, D] of a list by name, without augmentation, and its labels [N]."""
    sampler = EvalBatchSampler(len(dataset), **eval_sampling_of(config))
    features, pixels, labels = [], [], []
    model.eval()
    for batch in make_loader(dataset, sampler, **loading_of(config)):
        used = batch.indices.numpy() >= 0  # the others could not be read
        with precision.autocast():
            encoded = model.forward_features(batch.images)
        features.append(encoded.astype("float32").numpy()[used])
        pixels.append(pixel_features(batch.images).numpy()[used])
        labels.append(batch.labels.numpy()[used])
    model.train()
    name = "features" if config.MODEL.PRETRAINED else "random_init"
    return {name: np.concatenate(features), "raw_pixels": np.concatenate(pixels)}, np.concatenate(labels)
