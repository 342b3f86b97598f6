"""`preprocessor_config.json` of Hugging Face, both ways: what is done to an image before the model."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from mae_core.weights.architecture import Architecture
from mae_core.weights.metadata import Metadata

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
