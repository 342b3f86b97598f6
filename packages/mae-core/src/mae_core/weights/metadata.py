"""What a weight file records of its model beside the arrays: sizes that no shape shows, and how images are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mae_core.errors import CheckpointError

if TYPE_CHECKING:
    from paddle import nn

# What a user may state where a file does not record it.
STATED = ("img_size", "patch_size", "in_chans", "num_heads", "decoder_num_heads", "norm_pix_loss")
_USUAL_RANGE = 255  # of a model's pixel values; a header holds others only


@dataclass(frozen=True)
class Metadata:
    """Arguments of a model that its arrays do not show; None where they are not recorded."""

    img_size: tuple[int, int] | None = None
    patch_size: int | None = None
    in_chans: int | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    value_range: int | float | tuple[float, float] | None = None
    crop_pct: float | None = None
    bands: tuple[int | str, ...] | None = None
    exif: bool | None = None
    nodata: float | str | None = None
    class_names: tuple[str, ...] | None = None
    num_heads: int | None = None
    decoder_num_heads: int | None = None
    norm_pix_loss: bool | None = None

    def known(self) -> dict[str, Any]:
        """Return what is recorded, by argument name, as a header holds it."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __or__(self, other: "Metadata") -> "Metadata":
        """Return this, and over it what the other records."""
        return replace(self, **other.known())

    def fitting(self, in_chans: int | None, num_classes: int | None) -> "Metadata":
        """Leave out what is of other channels or another head: that may have been cut off or replaced."""

        def sized(values: tuple[Any, ...] | None, size: int | None) -> tuple[Any, ...] | None:
            return values if values is not None and len(values) == size else None

        return replace(
            self,
            pixel_mean=sized(self.pixel_mean, in_chans),
            pixel_std=sized(self.pixel_std, in_chans),
            bands=sized(self.bands, in_chans),
            class_names=sized(self.class_names, num_classes),
        )


def metadata_of(model: "nn.Layer") -> Metadata:
    """Return the metadata of a model of this package; of models of other kinds, nothing is recorded."""
    if not (hasattr(model, "patch_embed") and hasattr(model, "blocks")):
        return Metadata()
    names = getattr(model, "class_names", None)
    decoder: Any = getattr(model, "decoder_blocks", ())
    return Metadata(
        img_size=model.img_size,
        patch_size=model.patch_size,
        in_chans=model.in_chans,
        pixel_mean=tuple(model.pixel_mean),
        pixel_std=tuple(model.pixel_std),
        value_range=None if model.value_range == _USUAL_RANGE else model.value_range,
        crop_pct=model.crop_pct,
        bands=None if model.bands is None else tuple(model.bands),
        exif=None if model.exif else False,
        nodata=model.nodata,
        class_names=tuple(names) if names else None,
        num_heads=model.blocks[0].attn.num_heads if len(model.blocks) else None,
        decoder_num_heads=decoder[0].attn.num_heads if len(decoder) else None,
        norm_pix_loss=model.norm_pix_loss if len(decoder) else None,
    )


def checked_metadata(stated: Mapping[str, Any]) -> Metadata:
    """Return what a file or a user states, any of STATED; an image size of one number is a square's.

    Raises:
        CheckpointError: a value is of the wrong kind.
    """
    for key, value in stated.items():
        if key == "norm_pix_loss":
            good = isinstance(value, bool)
        else:
            pair = key == "img_size" and isinstance(value, (list, tuple)) and len(value) == 2
            good = all(type(number) is int and number > 0 for number in (value if pair else [value]))
        if not good:
            raise CheckpointError(f"{key}={value!r:.60} is not usable; sizes and counts are positive integers")
    size = stated.get("img_size")
    return Metadata(**{**stated, "img_size": (size, size) if isinstance(size, int) else tuple(size) if size else None})


def metadata_from_header(text: str | None) -> Metadata:
    """Read the metadata in the header of one of our files; what cannot be is left out.

    Raises:
        CheckpointError: it is not readable.
    """
    if not text:
        return Metadata()
    try:
        found = json.loads(text)
        sizes = checked_metadata({key: found[key] for key in STATED if found.get(key) is not None})
        crop_pct, exif, nodata = (found.get(key) for key in ("crop_pct", "exif", "nodata"))
        return replace(
            sizes,
            pixel_mean=_floats(found.get("pixel_mean")),
            pixel_std=_floats(found.get("pixel_std")),
            value_range=_value_range(found.get("value_range")),
            crop_pct=crop_pct if isinstance(crop_pct, int | float) and 0 < crop_pct <= 1 else None,
            bands=_bands(found.get("bands")),
            exif=exif if isinstance(exif, bool) else None,
            nodata=nodata if nodata in ("nan", "file") or type(nodata) in (int, float) else None,
            class_names=_names(found.get("class_names")),
        )
    except (ValueError, AttributeError, RecursionError):
        raise CheckpointError("the header's architecture is not readable") from None


def _floats(value: Any) -> tuple[float, ...] | None:
    return tuple(value) if isinstance(value, list) and all(type(item) is float for item in value) else None


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(type(item) is str for item in value) else None


def _bands(value: Any) -> tuple[int | str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(value) if all((type(b) is int and b >= 0) or (isinstance(b, str) and b) for b in value) else None


def _value_range(value: Any) -> int | tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2 and all(type(end) is float for end in value) and value[0] < value[1]:
        return value[0], value[1]
    return value if type(value) is int and value > 0 else None
