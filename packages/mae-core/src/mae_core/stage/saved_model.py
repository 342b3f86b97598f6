"""A model with its weights from one path, of whatever source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import CheckpointError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer, pixel_statistics
from mae_core.stage.config.weight_record import input_settings
from mae_core.weights.checkpoint_folder import open_weights
from mae_core.weights.key_report import join_names
from mae_core.weights.load import adapt_channels, fit_weights, load_arrays
from mae_core.weights.metadata import checked_metadata
from mae_core.weights.sources import Weights

_NEEDED = ("img_size", "patch_size", "num_heads", "decoder_num_heads")
_NORM = ("head.0._mean", "head.0._variance")  # of a linear probe
_NORM_EPS = 1e-6
_OTHER_HEADS = ("segment", "regress")  # tasks of fine-tuning whose head is no linear layer of a `VisionTransformer`


def load(
    path: str | Path,
    source: str = "auto",
    *,
    random_init: bool = False,
    channels_from: str | None = None,
    img_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    in_chans: int | None = None,
    num_heads: int | None = None,
    decoder_num_heads: int | None = None,
    norm_pix_loss: bool | None = None,
) -> MaskedAutoencoderViT | VisionTransformer:
    """Load a model with its weights, ready to evaluate.

    Weights with a decoder give a `MaskedAutoencoderViT`; others a `VisionTransformer`, without a head where they have
    none. The batch norm of a linear probe goes into its classifier: the logits are those of the probe up to rounding.

    Args:
        path: run folder, checkpoint folder, Hugging Face folder, or file of any published format, suffix optional.
        source: a name of `mae_core.weights.layouts.LAYOUTS`, or `auto`.
        random_init: keep the weights that `paddle.seed` draws: the same network untrained, as a baseline.
        channels_from: "repeat", "mean" or "first" of the weights' channels makes the `in_chans` that are asked for; see
            `mae_core.weights.adaptation`.
        img_size, patch_size, in_chans, num_heads, decoder_num_heads, norm_pix_loss: what the weights do not record.

    Raises:
        CheckpointError: nothing there, damaged or refused, or not all of a model; what is not recorded is named.

    Examples:
        >>> load("nope.pth")
        Traceback (most recent call last):
        mae_core.errors.CheckpointError: nope.pth: no such file
    """
    weights = open_weights(path, source)
    if channels_from and in_chans:
        weights = adapt_channels(weights, in_chans, channels_from)
    stated = {
        "img_size": img_size,
        "patch_size": patch_size,
        "in_chans": in_chans,
        "num_heads": num_heads,
        "decoder_num_heads": decoder_num_heads,
        "norm_pix_loss": norm_pix_loss,
    }
    known = {name: value for name, value in stated.items() if value is not None}
    return model_of(weights, known, random_init=random_init, other_channels=bool(channels_from))


def model_of(
    weights: Weights,
    stated: Mapping[str, Any] | None = None,
    *,
    random_init: bool = False,
    other_channels: bool = False,
) -> MaskedAutoencoderViT | VisionTransformer:
    """Build the model of weights that are open; see `load`.

    Args:
        stated: arguments of the model that the weights do not record.
        other_channels: whether the weights were adapted to channels that are not theirs.

    Raises:
        CheckpointError: not all of a model, or one that only `mae_finetune` builds; what is not recorded is named.
    """
    task = weights.config.get("MODEL", {}).get("TASK", "classify")
    if task in _OTHER_HEADS:
        raise CheckpointError(
            f"{weights.file} is of MODEL.TASK={task}, whose head mae-finetune alone builds: mae-finetune predict"
            " or serve, mae_finetune.predict"
        )
    model = _build(weights, stated or {}, other_channels)
    if not random_init:
        _load_all(model, weights)
    model.eval()
    return model


def load_opened(weights: Weights) -> MaskedAutoencoderViT | VisionTransformer:
    """Make the model that weights are of, as `load` does."""
    model = _build(weights, {}, other_channels=False)
    _load_all(model, weights)
    model.eval()
    return model


def _build(
    weights: Weights, stated: Mapping[str, Any], other_channels: bool
) -> MaskedAutoencoderViT | VisionTransformer:
    """Build the model that weights are of, by what they record and, over it, what the user states."""
    has_decoder = "mask_token" in weights.arrays
    known = weights.architecture(checked_metadata(stated)).known()
    missing = [name for name in _NEEDED if name not in known and (has_decoder or not name.startswith("decoder"))]
    if missing:
        raise CheckpointError(f"{weights.file} does not record {', '.join(missing)}: load(..., {missing[0]}=...)")
    known = {**_statistics(weights.config, int(known["in_chans"])), **known}
    if other_channels:
        known.pop("bands", None)
    return MaskedAutoencoderViT(**known) if has_decoder else VisionTransformer(**{"num_classes": 0, **known})


def _load_all(model: MaskedAutoencoderViT | VisionTransformer, weights: Weights) -> None:
    if _NORM[0] in weights.arrays:
        load_arrays(model, _without_norm(weights), str(weights.file))
    elif (report := fit_weights(model, weights)).missing:
        raise CheckpointError(f"{report.file} has no {join_names(report.missing)}: this is not all of a model")


def _statistics(saved: Mapping[str, Any], in_chans: int) -> dict[str, Any]:
    """Read what is done to images from the config of a run; older weight files do not record it."""
    if not saved:
        return {}
    config = saved.get("DATA", {})
    read: dict[str, Any] = {**input_settings(saved)}
    if not {"IMAGENET_MEAN", "IMAGENET_STD"} <= config.keys():
        return read
    mean, std = pixel_statistics(in_chans, config["IMAGENET_MEAN"], config["IMAGENET_STD"])
    return {**read, "pixel_mean": mean, "pixel_std": std, "value_range": config.get("VALUE_RANGE", 255)}


def _without_norm(weights: Weights) -> dict[str, NDArray[Any]]:
    """Return the arrays of a linear probe as those of a classifier.

    Raises:
        CheckpointError: the probe has another head, which mae-probe alone builds.
    """
    arrays = {name: np.asarray(array) for name, array in weights.arrays.items()}
    if others := [name for name in arrays if name.startswith("head.pool.")]:
        raise CheckpointError(f"{weights.file} has {join_names(others)}, of an attentive probe; use mae-probe -eval")
    mean, variance = (arrays.pop(name).astype(np.float64) for name in _NORM)
    weight, bias = (arrays.pop(f"head.1.{name}").astype(np.float64) for name in ("weight", "bias"))
    scaled = weight / np.sqrt(variance + _NORM_EPS)[:, None]  # [D, K]
    arrays["head.weight"], arrays["head.bias"] = scaled.astype(np.float32), (bias - mean @ scaled).astype(np.float32)
    return {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
