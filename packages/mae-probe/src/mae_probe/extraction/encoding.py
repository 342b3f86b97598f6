"""Encode the lists of a config with its pre-trained encoder, or read what is kept of them: what all commands do."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import paddle
from paddle import Tensor

import mae_core
from mae_core.errors import UserError
from mae_core.evaluation.raw_pixels import pixel_features
from mae_core.ops.patches import pair
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
from mae_probe.extraction.pooling import PIXELS, TOKENS, Part, pool_tokens
from mae_probe.model import LinearProbe

RANDOM_INIT = "--random-init: the features are those of random weights, a yardstick for trained ones"


def encode_lists(
    opened: Opened,
    list_names: Sequence[str],
    command: str,
    labels: str = "required",
    parts: Sequence[Part] = (),
    overlap: int | None = None,
    yardsticks: bool = False,
) -> list[dict[Part, Features]]:
    """Encode lists with the weights, or with initial ones, as in evaluation, without augmentation.

    Args:
        opened: the config, and the weights that it names.
        list_names: files, relative to DATA.DATA_PATH.
        command: for error messages.
        labels: "required" or "optional".
        parts: what is taken, all of one pass over the images; none: of the last block as MODEL.GLOBAL_POOL says.
        overlap: encode windows that share so many pixels with their neighbours, instead of whole images; not kept.
        yardsticks: take raw pixels, too, and each of the parts of the encoder with random weights.

    Returns:
        for each list, the features by what is taken, in the order of `parts`, and then those of the yardsticks.

    Raises:
        UserError: started on several ranks, no weights, or wrong ones.
    """
    begin_alone(command)
    config = opened.config
    datasets = [  # faults of data come first
        eval_dataset(config, name, labels, dropping=True, coverage=overlap is not None) for name in list_names
    ]
    log.log_lines(note for dataset in datasets for note in dataset.images.notes)
    model = open_encoder(opened, command)
    precision, parts = precision_of(config), parts or [Part(own_pool(config))]
    if overlap is not None:
        forward = partial(take_parts, model, parts)
        return [encode_windows(config, forward, dataset, precision, overlap) for dataset in datasets]
    if not yardsticks:
        return [encode_parts(config, model, dataset, precision, parts) for dataset in datasets]
    found = [encode_parts(config, model, dataset, precision, [*parts, Part(PIXELS)]) for dataset in datasets]
    if config.MODEL.RANDOM_INIT:
        return found
    initial = build_model(config)
    initial.eval()
    beside = [part._replace(random_init=True) for part in parts]
    for of_list, dataset in zip(found, datasets, strict=True):
        of_list |= encode_parts(config, initial, dataset, precision, beside)
    return found


def begin_alone(command: str) -> None:
    """Prepare the log of a command that runs on one process.

    Raises:
        UserError: it was started on several ranks.
    """
    if distributed.world_size() > 1:
        raise UserError(f"{command} runs on one process: start it without other ranks")
    log.setup(True)


def open_encoder(opened: Opened, command: str) -> LinearProbe:
    """Build the encoder, with the weights or with initial ones, for evaluation."""
    model = build_model(opened.config)
    if opened.config.MODEL.RANDOM_INIT:
        log.LOGGER.info(RANDOM_INIT)
    else:
        load_encoder(opened.config, opened.weights, model, command)
    model.eval()
    return model


def own_pool(config: Config) -> str:
    """Return the pool that a head on features reads."""
    return "mean" if config.MODEL.GLOBAL_POOL else "class"


def grid_of(config: Config) -> tuple[int, int]:
    """Return rows and columns of the patches of an image."""
    height, width = pair(config.DATA.IMAGE_SIZE)
    return height // config.MODEL.PATCH_SIZE, width // config.MODEL.PATCH_SIZE


def head_features(config: Config, model: LinearProbe, dataset: ListDataset, precision: Precision) -> Features:
    """Encode the images of a list to what the model's head reads; tokens are never kept."""
    if model.takes_tokens:
        return encode(config, lambda images: {"tokens": model.head_inputs(images)}, dataset, precision)["tokens"]
    part = Part(own_pool(config))
    return encode_parts(config, model, dataset, precision, [part])[part]


def encode_parts(
    config: Config,
    model: LinearProbe,
    dataset: ListDataset,
    precision: Precision,
    parts: Sequence[Part],
    rows: Sequence[int] | None = None,
) -> dict[Part, Features]:
    """Read what is kept of a list's features, encode the others in one pass, and keep them.

    Tokens are not kept, nor features of a list of which images were left out: the next command is to name these too.

    Args:
        rows: the places in the list of the images that count; None: all.
    """
    if config.NO_CACHE:
        return encode(config, partial(take_parts, model, parts), dataset, precision, rows)
    folder = kept_features.folder_for(config.MODEL.PRETRAINED or config.SAVE)
    made_of, depth = _made_of(config, model, dataset, precision), len(model.blocks)
    made_of |= {} if rows is None else {"rows": list(rows)}
    keys = {part: _key(made_of, part, depth) for part in parts if part.pool != TOKENS}
    found = {part: features for part in keys if (features := kept_features.find_features(folder, keys[part]))}
    if found:
        log.LOGGER.info(f"features read from {folder}: {dataset.images.name} ({_spoken(found, depth)})")
    if missing := [part for part in parts if part not in found]:
        found |= encode(config, partial(take_parts, model, missing), dataset, precision, rows)
        missing = [part for part in missing if part in keys]
        kept = not dataset.skipped() and [
            kept_features.keep_features(folder, keys[part], found[part]) for part in missing
        ]
        if kept and all(kept):
            log.LOGGER.info(f"features kept in {folder}: {dataset.images.name} ({_spoken(missing, depth)})")
    return {part: found[part] for part in parts}


def _spoken(parts: Iterable[Part], depth: int) -> str:
    said = []
    for part in parts:
        block = "" if _is_plain(part, depth) else f" of block {part.block}"
        said.append(part.pool + block + (" of random weights" if part.random_init else ""))
    return ", ".join(said)


def _is_plain(part: Part, depth: int) -> bool:
    """Whether the block need not be said: it is the last one, or pixels are from none."""
    return part.pool == PIXELS or part.block % depth == depth - 1


@paddle.no_grad()
def take_parts(model: LinearProbe, parts: Sequence[Part], images: Tensor) -> dict[Part, Tensor]:
    """Make features with one pass through the encoder, as far as it is needed: through no block for pixels alone."""
    blocks = list({part.block for part in parts if part.pool != PIXELS})
    tokens = dict(zip(blocks, model.forward_intermediates(images, blocks) if blocks else (), strict=True))
    return {part: _take_one(model, part, images, tokens) for part in parts}


def _take_one(model: LinearProbe, part: Part, images: Tensor, tokens: Mapping[int, Tensor]) -> Tensor:
    if part.pool == PIXELS:
        return pixel_features(images)
    if part.pool == TOKENS:
        return tokens[part.block][:, 1:].astype("float16")  # [N, L, D]
    return pool_tokens(model, tokens[part.block], part.pool)


def _key(made_of: Mapping[str, object], part: Part, depth: int) -> str:
    """Return the key of features; the last block's is the same, however it is called, and pixels are of no encoder."""
    if part.pool == PIXELS:
        made_of = {**made_of, "encoder": None}
    block = {} if _is_plain(part, depth) else {"block": part.block % depth}
    return kept_features.key_of({**made_of, "pool": part.pool, **block})


def _made_of(config: Config, model: LinearProbe, dataset: ListDataset, precision: Precision) -> dict[str, object]:
    """Describe what features depend on, but for pool and block."""
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
