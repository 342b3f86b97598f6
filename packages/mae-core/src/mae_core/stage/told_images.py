"""How image files become a model's input, as the config of its run tells it."""

from collections.abc import Mapping
from typing import Any

# Pre-training's default of the evaluation crop; a run of small pictures that shows more of them has a reason to.
_USUAL_CROP = ("PRETRAIN", 0.875)


def images_told(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return crop_pct, bands and exif as a model takes them, as far as the config of a run says so.

    Args:
        saved: nested; of runs that did not know the last, photographs were not turned.
    """
    data, stage = saved.get("DATA", {}), saved.get("MODEL", {}).get("TYPE")
    told = {"crop_pct": data.get("CROP_PCT"), "bands": data.get("BANDS"), "exif": data.get("EXIF", False)}
    if (stage, told["crop_pct"]) == _USUAL_CROP:
        told["crop_pct"] = None
    return {name: value for name, value in told.items() if value is not None}
