"""Encode the lists of a config with its pre-trained encoder: what `features`, `knn` and `logistic` begin with."""

from collections.abc import Callable, Sequence
from functools import partial

import paddle
from paddle import Tensor

from mae_core.errors import UserError
from mae_core.process import distributed, log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.to_arguments import precision_of
from mae_data.loading.dataset import ListDataset
from mae_probe.build import build_model, eval_dataset, load_encoder
from mae_probe.extraction.feature_set import Features, encode, encode_windows
from mae_probe.extraction.pooling import POOLS, pooled
from mae_probe.extraction.raw_pixels import pixel_features
from mae_probe.heads.model import LinearProbe

RANDOM_INIT = "--random-init: the features are those of random weights, a yardstick for trained ones"


def encode_lists(
    opened: Opened,
    list_names: Sequence[str],
    command: str,
    labels: str = "required",
    pool: str | None = None,
    overlap: int | None = None,
) -> list[Features]:
    """Encode lists with the weights, or with initial ones, as in evaluation, without augmentation.

    Args:
        opened: the config, and the weights that it names.
        list_names: files, relative to DATA.DATA_PATH.
        command: for error messages.
        labels: "required" or "optional".
        pool: one of `pooling.POOLS`; None: as MODEL.GLOBAL_POOL says.
        overlap: encode windows that share so many pixels with their neighbours, instead of whole images.

    Raises:
        UserError: started on several ranks, no weights, or wrong ones.
    """
    datasets, forward = _open(opened, list_names, command, labels, pool)
    config, precision = opened.config, precision_of(opened.config)
    if overlap is not None:
        return [encode_windows(config, forward, dataset, precision, overlap) for dataset in datasets]
    return [encode(config, forward, dataset, precision) for dataset in datasets]


def encode_with_pixels(
    opened: Opened, list_names: Sequence[str], command: str, pool: str | None = None
) -> tuple[list[Features], list[Features]]:
    """Encode lists as `encode_lists` does, and their pixels beside, each image read once.

    Returns:
        features of the encoder, and of raw pixels (see `raw_pixels`), a list each.
    """
    datasets, forward = _open(opened, list_names, command, "required", pool)
    config, precision = opened.config, precision_of(opened.config)
    width = config.MODEL.ENCODER.EMBED_DIM * (POOLS[pool].parts if pool else 1)

    def both(images: Tensor) -> Tensor:
        return paddle.concat([forward(images).astype("float32"), pixel_features(images)], axis=1)

    encoded = [encode(config, both, dataset, precision) for dataset in datasets]
    return [f.columns(0, width) for f in encoded], [f.columns(width, None) for f in encoded]


def _open(
    opened: Opened, list_names: Sequence[str], command: str, labels: str, pool: str | None
) -> tuple[list[ListDataset], Callable[[Tensor], Tensor]]:
    """Open the lists, then build the encoder; the data's faults are found first."""
    if distributed.world_size() > 1:
        raise UserError(f"{command} runs on one process: start it without other ranks")
    log.setup(True)
    config = opened.config
    datasets = [eval_dataset(config, name, labels, dropping=True) for name in list_names]
    log.say(note for dataset in datasets for note in dataset.images.notes)
    model = build_model(config)
    if config.MODEL.RANDOM_INIT:
        log.LOGGER.info(RANDOM_INIT)
    else:
        load_encoder(config, opened.weights, model, command)
    model.eval()
    return datasets, partial(_features, model, pool) if pool else model.forward_features


@paddle.no_grad()
def _features(model: LinearProbe, pool: str, images: Tensor) -> Tensor:
    return pooled(model, images, pool)
