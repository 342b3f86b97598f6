"""How image files become a model's input, as the config of its run records it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

# Pre-training's default of the evaluation crop; a run of small pictures that shows more of them has a reason to.
_USUAL_CROP = ("PRETRAIN", 0.875)


class InputSettings(TypedDict, total=False):
    """The arguments of a model on how images are read; those that nobody recorded are left out."""

    crop_pct: float
    bands: Sequence[int | str]
    exif: bool
    nodata: float | str


def input_settings(saved: Mapping[str, Any]) -> InputSettings:
    """Return crop_pct, bands, exif and nodata as a model takes them, as far as the config of a run holds them.

    Args:
        saved: the config, nested. Runs from before `EXIF` did not turn photographs upright.
    """
    data, stage = saved.get("DATA", {}), saved.get("MODEL", {}).get("TYPE")
    settings: InputSettings = {"exif": data.get("EXIF", False)}
    if (bands := data.get("BANDS")) is not None:
        settings["bands"] = bands
    if (nodata := data.get("NODATA")) is not None:
        settings["nodata"] = nodata
    crop = data.get("CROP_PCT")
    if crop is not None and (stage, crop) != _USUAL_CROP:
        settings["crop_pct"] = crop
    return settings
