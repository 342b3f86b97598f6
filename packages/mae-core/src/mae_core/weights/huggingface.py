"""`config.json` and `preprocessor_config.json` of Hugging Face's ViTMAE and ViT, both ways."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from mae_core.epsilons import LN_EPS
from mae_core.errors import CheckpointError
from mae_core.weights.architecture import Architecture
from mae_core.weights.metadata import Metadata, checked_metadata

_METADATA = {
    "image_size": "img_size",
    "patch_size": "patch_size",
    "num_channels": "in_chans",
    "num_attention_heads": "num_heads",
    "decoder_num_attention_heads": "decoder_num_heads",
    "norm_pix_loss": "norm_pix_loss",
}


def read_config(path: Path) -> tuple[Metadata, list[str]]:
    """Return the metadata in a `config.json`, and remarks on it; nothing where there is no such file.

    Raises:
        CheckpointError: it is not readable, or of a model this package cannot express.
    """
    if not path.is_file():
        return Metadata(), []
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON of a model ({error})") from None
    if kind is None and "architecture" in config:  # timm's
        return Metadata(), []
    if kind not in ("vit", "vit_mae"):
        raise CheckpointError(f"{path} is of model type {kind!r}; vit_mae and vit are read")
    if config.get("hidden_act", "gelu") != "gelu":
        raise CheckpointError(f"{path} has hidden_act={config['hidden_act']!r}; these models have gelu")
    stated = {ours: config[key] for key, ours in _METADATA.items() if config.get(key) is not None}
    metadata = replace(checked_metadata(stated), class_names=_class_names(config.get("id2label")))
    remarks = []
    if (epsilon := config.get("layer_norm_eps", 1e-12)) != LN_EPS:
        remarks.append(f"{path.name} has layer_norm_eps={epsilon}; our models use {LN_EPS:g}, as the official code")
    return metadata, remarks


def _class_names(labels: Any) -> tuple[str, ...] | None:
    """Return the names of classes, unless they are those that transformers makes up."""
    if not isinstance(labels, dict) or not all(isinstance(name, str) for name in labels.values()):
        return None
    names: tuple[Any, ...] = tuple(labels.get(str(i)) for i in range(len(labels)))
    made_up = all(name == f"LABEL_{i}" for i, name in enumerate(names))
    return None if made_up or not names or None in names else names


def config_json(model: Architecture) -> str:
    """Return the text of the `config.json` with which transformers builds the same model.

    Raises:
        CheckpointError: transformers has no such model, or something is not known of this one.
    """
    is_mae = model.decoder_embed_dim is not None
    needed = ["img_size", "patch_size", "in_chans", "num_heads"] + ["decoder_num_heads"] * is_mae
    if missing := [name for name in needed if getattr(model, name) is None]:
        raise CheckpointError(
            f"config.json needs {', '.join(missing)}; add " + " ".join(f"--set {m}=..." for m in missing)
        )
    if model.global_pool:
        raise CheckpointError("transformers' ViT has no average-pooled head (fc_norm); use --to timm")
    assert model.img_size is not None  # checked above
    config: dict[str, Any] = {
        "hidden_size": model.embed_dim,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.num_heads,
        "intermediate_size": round(model.embed_dim * model.mlp_ratio),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": LN_EPS,
        "image_size": model.img_size[0] if model.img_size[0] == model.img_size[1] else list(model.img_size),
        "patch_size": model.patch_size,
        "num_channels": model.in_chans,
        "qkv_bias": model.qkv_bias,
    }
    return json.dumps({**config, **(_mae_part(model) if is_mae else _vit_part(model))}, indent=2) + "\n"


def _mae_part(model: Architecture) -> dict[str, Any]:
    assert model.decoder_embed_dim is not None
    assert model.img_size is not None
    if model.img_size[0] != model.img_size[1]:
        raise CheckpointError(
            f"transformers' ViTMAE takes square images only; these are {model.img_size}; use another --to"
        )
    return {
        "model_type": "vit_mae",
        "architectures": ["ViTMAEForPreTraining"],
        "decoder_hidden_size": model.decoder_embed_dim,
        "decoder_num_hidden_layers": model.decoder_depth,
        "decoder_num_attention_heads": model.decoder_num_heads,
        "decoder_intermediate_size": round(model.decoder_embed_dim * model.mlp_ratio),
        "mask_ratio": 0.75,
        "norm_pix_loss": True if model.norm_pix_loss is None else model.norm_pix_loss,
    }


def _vit_part(model: Architecture) -> dict[str, Any]:
    if model.num_classes is None:
        return {"model_type": "vit", "architectures": ["ViTModel"]}
    names = model.class_names or [f"LABEL_{i}" for i in range(model.num_classes)]
    labels = {str(i): name for i, name in enumerate(names)}
    return {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "id2label": labels,
        "label2id": {label: int(i) for i, label in labels.items()},
    }


FILE = "preprocessor_config.json"
_BICUBIC = 3  # of Pillow
_MOST = 65535


def preprocessor_text(model: Architecture) -> str | None:
    """Return the file with which transformers prepares images as evaluation does; None where it cannot do that.

    It resizes the shorter side and crops the centre of square images; statistics and range must be known.
    """
    if not model.img_size or model.img_size[0] != model.img_size[1] or not model.pixel_mean or not model.pixel_std:
        return None
    side, value_range = model.img_size[0], model.value_range or 255
    low, high = value_range if isinstance(value_range, tuple) else (0.0, float(value_range))
    crop_pct = model.crop_pct or (0.875 if side <= 224 else 1.0)
    config = {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": model.in_chans == 3,
        "do_resize": True,
        "size": {"shortest_edge": int(side / crop_pct)},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1.0 / (high - low),
        "do_normalize": True,
        "image_mean": [mean + low / (high - low) for mean in model.pixel_mean],
        "image_std": list(model.pixel_std),
    }
    return json.dumps(config, indent=2) + "\n"


def read_preprocessor(path: Path) -> tuple[Metadata, list[str]]:
    """Return pixel statistics, value range and crop in the file, and remarks; nothing where there is no such file."""
    if not path.is_file():
        return Metadata(), []
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        metadata = replace(_statistics(config), crop_pct=_crop_pct(config))
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        remark = f"{path.name} is not readable ({type(error).__name__}): pixel statistics are the usual ones"
        return Metadata(), [remark]
    return metadata, [] if metadata.pixel_mean else [f"{path.name} has no mean and deviation that are used here"]


def _statistics(config: dict[str, Any]) -> Metadata:
    mean, std = _numbers(config.get("image_mean")), _numbers(config.get("image_std"))
    white = round(1 / config.get("rescale_factor", 1 / 255))
    if not config.get("do_normalize", True) or not config.get("do_rescale", True) or not 1 <= white <= _MOST:
        return Metadata()
    if not mean or len(mean) != len(std) or min(std) <= 0:
        return Metadata()
    return Metadata(pixel_mean=mean, pixel_std=std, value_range=white)


def _numbers(value: Any) -> tuple[float, ...]:
    sound = isinstance(value, list) and all(type(x) in (int, float) and math.isfinite(x) for x in value)
    return tuple(float(x) for x in value) if sound else ()


def _crop_pct(config: dict[str, Any]) -> float | None:
    if not config.get("do_center_crop") or not config.get("do_resize", True):
        return None
    crop, size = config.get("crop_size"), config.get("size")
    side = crop.get("height") if isinstance(crop, dict) else crop
    edge = size.get("shortest_edge") if isinstance(size, dict) else None
    if not isinstance(side, int) or not isinstance(edge, int) or not 0 < side <= edge:
        return None
    return side / edge
