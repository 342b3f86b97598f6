"""Checks of a config that no key's own limits say: between keys, or of values beside None."""

from collections.abc import Callable, Sequence

from mae_core.errors import ConfigError
from mae_core.stage.config.keys import numbers_of
from mae_core.stage.config.node import Config, get_key
from mae_core.training.writers import BOARDS

CLASS_FIGURES = ("top1", "balanced_accuracy", "macro_f1", "auroc", "val_loss")


def require_common(c: Config) -> None:
    """Require what model, data path and loop rely on, of the keys that all stages have."""
    for key in ("SAVE", "DATA.DATA_PATH"):
        require(get_key(c, key) != "", f"{key}='' names no folder")
    require_whole_patches(c.DATA.IMAGE_SIZE, c.MODEL.PATCH_SIZE)
    require_value_range(c.DATA.VALUE_RANGE)
    require_bands(c.DATA.BANDS, c.DATA.IMAGE_CHANNELS)
    require_nodata(c.DATA.NODATA)
    require_pair(c, "DATA.CROP_SCALE")
    low, high = c.DATA.CROP_SCALE
    require(low <= high, f"DATA.CROP_SCALE={c.DATA.CROP_SCALE} is not a range: it begins above its end")
    require_none_or(c, "DATA.CROP_PCT", lambda v: 0 < v <= 1, "a share above 0 and up to 1")
    require_none_or(c, "TRAIN.GRAD_CLIP", lambda v: v > 0, "positive")
    require_none_or(c, "TRAIN.LINEAR_SCALED_LR", lambda v: v >= 0, "a number of images")
    for name in c.LOGGERS:
        require(name in BOARDS, f"LOGGERS names {name!r}; use any of {', '.join(BOARDS)}, or [] for none")
    require(
        c.TRAIN.WARMUP_EPOCHS <= c.TRAIN.NUM_EPOCHS,
        f"TRAIN.WARMUP_EPOCHS={c.TRAIN.WARMUP_EPOCHS} is more than TRAIN.NUM_EPOCHS={c.TRAIN.NUM_EPOCHS}",
    )


def require_adam(c: Config) -> None:
    """Require what Adam relies on, of the keys that pre-training and fine-tuning have."""
    require_pair(c, "TRAIN.OPTIMIZER.BETAS")


def require_scored(c: Config, figures: Sequence[str]) -> None:
    """Require what a validation relies on, whose figures are these."""
    require_none_or(c, "DATA.BATCH_SIZE_EVAL", lambda v: v > 0 and v == int(v), "a number of images")
    named, allowed = c.TRAIN.BEST_BY, ", ".join(map(repr, figures))
    require(named in (None, *figures), f"TRAIN.BEST_BY={named!r} is not one of {allowed}, or None")


def require_classifier(c: Config) -> None:
    """Require what a classifier and its validation rely on, of the keys that fine-tuning and probing have."""
    require_scored(c, CLASS_FIGURES)
    require(
        c.MODEL.NUM_CLASSES > 1,
        f"MODEL.NUM_CLASSES={c.MODEL.NUM_CLASSES} leaves nothing to tell apart: one output is always right, at a loss"
        " of 0; use 2 or more, such as a second class for all that is not of the first",
    )


def require(holds: bool, message: str) -> None:
    """Raise ConfigError with the message unless it holds."""
    if not holds:
        raise ConfigError(message)


def require_pair(config: Config, key: str) -> None:
    """Require two numbers."""
    require(len(numbers_of(key, get_key(config, key))) == 2, f"{key}={get_key(config, key)} is not two numbers")


def require_none_or(config: Config, key: str, holds: Callable[[float], bool], allowed: str) -> None:
    """Require None or a number for which it holds: yacs takes any value for a key whose default is None."""
    value = get_key(config, key)
    sound = isinstance(value, int | float) and not isinstance(value, bool) and holds(value)
    require(value is None or sound, f"{key}={value!r} is not {allowed}, or None")


def require_value_range(given: int | Sequence[float]) -> None:
    """Require DATA.VALUE_RANGE to be the white of integers of up to 16 bits, or [low, high] of floats."""
    is_pair = isinstance(given, list | tuple)
    numbers = numbers_of("DATA.VALUE_RANGE", list(given) if isinstance(given, list | tuple) else [0, given])
    sound = len(numbers) == 2 and numbers[0] < numbers[1] and (is_pair or numbers[1] <= 65535)
    require(
        sound,
        f"DATA.VALUE_RANGE={given} is neither the value of white in unsigned integers (255; 65535 at most)"
        " nor [low, high] of floats",
    )


def require_bands(bands: Sequence[object] | None, channels: int) -> None:
    """Require DATA.BANDS to be numbers from 0 or names, one for each of DATA.IMAGE_CHANNELS."""
    if bands is None:
        return
    sound = all((type(band) is int and band >= 0) or (isinstance(band, str) and band) for band in bands)
    require(sound and len(bands) > 0, f"DATA.BANDS={bands} is not a list of numbers from 0 or of names")
    require(
        len(bands) == channels,
        f"DATA.BANDS={bands} names {len(bands)} bands, DATA.IMAGE_CHANNELS={channels}; set one as the other",
    )


def require_nodata(given: object) -> None:
    """Require DATA.NODATA to be a number, "nan", "file", or None."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    require(
        given is None or is_number or given in ("nan", "file"),
        f"DATA.NODATA={given!r} is neither the number that stands for no data, nor nan, nor file (what each file says)",
    )


def has_8_bit_pictures(c: Config) -> bool:
    """Return whether images are such as Pillow's operations on colours are made for."""
    return c.DATA.VALUE_RANGE == 255 and c.DATA.IMAGE_CHANNELS in (1, 3)


def require_whole_patches(image_size: int | Sequence[int], patch_size: int) -> None:
    """Require DATA.IMAGE_SIZE, one number or [height, width], to be made of whole patches."""
    sides = [image_size, image_size] if isinstance(image_size, int) else image_size
    sound = len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)
    require(sound, f"DATA.IMAGE_SIZE={image_size} is not a number of pixels or [height, width]")
    for side in sides:
        require(
            side % patch_size == 0,
            f"DATA.IMAGE_SIZE={side} is not divisible by MODEL.PATCH_SIZE={patch_size}; use a multiple of {patch_size}",
        )
