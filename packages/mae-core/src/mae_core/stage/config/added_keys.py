"""Config keys that later versions added, with what held before them: older checkpoints lack them."""

from collections.abc import Mapping
from typing import Any

# A new key that changes what is computed belongs here, or runs of older versions are refused as drifted.
ADDED = {
    "DATA.BANDS": None,
    "DATA.DECODER": "exact",
    "DATA.EXIF": False,
    "DATA.REPEATS": 1,
    "DATA.ROTATE90": False,
    "DATA.VFLIP": 0.0,
    "DATA.VALUE_RANGE": 255,
    "MODEL.HEAD": "linear",
    "MODEL.MASKING": "random",
    "MODEL.NUM_QUERIES": 32,
    "MODEL.RANDOM_INIT": False,
    "TRAIN.BEST_BY": "top1",
    "TRAIN.CLASS_WEIGHTS": None,
}


def with_added_keys(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved config completed by those of the keys ADDED that it lacks and the present one has.

    Args:
        saved, now: configs as nested dictionaries, of an older and of this version.
    """
    completed = dict(saved)
    for key, value in ADDED.items():
        section, _, name = key.partition(".")
        if name in now.get(section, {}) and name not in completed.get(section, {}):
            completed[section] = {**completed.get(section, {}), name: value}
    return completed
