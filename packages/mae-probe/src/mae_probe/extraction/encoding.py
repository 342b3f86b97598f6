"""Encode the lists of a config with its pre-trained encoder, or read what is kept of them: what all commands do."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import paddle
from paddle import Tensor

import mae_core
from mae_core.errors import UserError
from mae_core.process import distributed, log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import encoder_of, precision_of
from mae_core.stage.config.to_data_arguments import input_of
from mae_core.training.precision import Precision
from mae_data.loading.dataset import ListDataset
from mae_probe.build import build_model, eval_dataset, load_encoder
from mae_probe.extraction import kept_features
from mae_probe.extraction.feature_set import Features, encode, encode_windows
from mae_probe.extraction.pooling import pool_tokens, tokens_of
from mae_probe.extraction.raw_pixels import pixel_features
from mae_probe.heads.model import LinearProbe

RANDOM_INIT = "--random-init: the features are those of random weights, a yardstick for trained ones"
PIXELS = "pixels"  # beside the names of pools: raw pixels


def encode_lists(
    opened: Opened,
    list_names: Sequence[str],
    command: str,
    labels: str = "required",
    pools: Sequence[str] = (),
    overlap: int | None = None,
) -> list[dict[str, Features]]:
    """Encode lists with the weights, or with initial ones, as in evaluation, without augmentation.

    Args:
        opened: the config, and the weights that it names.
        list_names: files, relative to DATA.DATA_PATH.
        command: for error messages.
        labels: "required" or "optional".
        pools: of `pooling.POOLS`, and PIXELS, all of one pass over the images; none: as MODEL.GLOBAL_POOL says.
        overlap: encode windows that share so many pixels with their neighbours, instead of whole images; not kept.

    Returns:
        for each list, the features by pool, in the order of `pools`.

    Raises:
        UserError: started on several ranks, no weights, or wrong ones.
    """
    if distributed.world_size() > 1:
        raise UserError(f"{command} runs on one process: start it without other ranks")
    log.setup(True)
    config = opened.config
    datasets = [eval_dataset(config, name, labels, dropping=True) for name in list_names]  # faults of data come first
    log.log_lines(note for dataset in datasets for note in dataset.images.notes)
    model = build_model(config)
    if config.MODEL.RANDOM_INIT:
        log.LOGGER.info(RANDOM_INIT)
    else:
        load_encoder(config, opened.weights, model, command)
    model.eval()
    precision = precision_of(config)
    if overlap is not None:
        forward = partial(_pools, model, pools or [own_pool(config)])
        return [encode_windows(config, forward, dataset, precision, overlap) for dataset in datasets]
    return [encode_pools(config, model, dataset, precision, pools or [own_pool(config)]) for dataset in datasets]


def own_pool(config: Config) -> str:
    """Return the pool that a head on features reads."""
    return "mean" if config.MODEL.GLOBAL_POOL else "class"


def head_features(config: Config, model: LinearProbe, dataset: ListDataset, precision: Precision) -> Features:
    """Encode the images of a list to what the model's head reads; tokens are never kept."""
    if model.takes_tokens:
        return encode(config, lambda images: {"tokens": model.head_inputs(images)}, dataset, precision)["tokens"]
    pool = own_pool(config)
    return encode_pools(config, model, dataset, precision, [pool])[pool]


def encode_pools(
    config: Config, model: LinearProbe, dataset: ListDataset, precision: Precision, pools: Sequence[str]
) -> dict[str, Features]:
    """Read what is kept of a list's features by pool, encode the others in one pass, and keep them.

    Features of a list of which images were left out are not kept: the next command is to name these too.
    """
    if config.NO_CACHE:
        return encode(config, partial(_pools, model, pools), dataset, precision)
    folder = kept_features.folder_for(config.MODEL.PRETRAINED or config.SAVE)
    made_of = _made_of(config, model, dataset, precision)
    keys = {pool: kept_features.key_of({**made_of, "pool": pool}) for pool in pools}
    found = {pool: features for pool in pools if (features := kept_features.find_features(folder, keys[pool]))}
    if found:
        log.LOGGER.info(f"features read from {folder}: {dataset.images.name} ({', '.join(found)})")
    if missing := [pool for pool in pools if pool not in found]:
        found |= encode(config, partial(_pools, model, missing), dataset, precision)
        kept = not dataset.skipped() and [
            kept_features.keep_features(folder, keys[pool], found[pool]) for pool in missing
        ]
        if kept and all(kept):
            log.LOGGER.info(f"features kept in {folder}: {dataset.images.name} ({', '.join(missing)})")
    return {pool: found[pool] for pool in pools}


@paddle.no_grad()
def _pools(model: LinearProbe, pools: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Make the features of some pools with one pass through the encoder, or with none for pixels alone."""
    tokens = tokens_of(model, images) if set(pools) != {PIXELS} else None
    return {
        pool: pixel_features(images) if tokens is None or pool == PIXELS else pool_tokens(model, tokens, pool)
        for pool in pools
    }


def _made_of(config: Config, model: LinearProbe, dataset: ListDataset, precision: Precision) -> dict[str, Any]:
    """Describe what features depend on, but for the pool."""
    return {
        "versions": [mae_core.__version__, paddle.__version__],
        "device": paddle.get_device().partition(":")[0],
        "precision": precision.dtype,
        "encoder": [encoder_of(config), config.MODEL.GLOBAL_POOL, _hash_encoder(model)],
        "images": [dataset.images.fingerprint(), dataset.images.state()],
        "transform": [input_of(config), config.DATA.DECODER],
    }


def _hash_encoder(model: LinearProbe) -> str:
    """Return a hash of the weights, but for the head's."""
    whole = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not name.startswith("head."):
            array = tensor.numpy()
            whole.update(f"{name} {array.dtype} {array.shape}".encode())
            whole.update(array.tobytes())
    return whole.hexdigest()
