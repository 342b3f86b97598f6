"""Configs of older versions in the keys of this one."""

from collections.abc import Mapping

from mae_core.stage.config.node import Tree, Values, flatten, nest, update
from mae_core.stage.config.predecessor_keys import KEYS

# Keys that later versions added, with what held before them.
# A new key that changes what is computed belongs here, or runs of older versions are refused as drifted.
ADDED: Values = {
    "DATA.BANDS": None,
    "DATA.CROP": "resized",
    "DATA.CROPS": 1,
    "DATA.DECODER": "exact",
    "DATA.EXIF": False,
    "DATA.NODATA": None,
    "DATA.REPEATS": 1,
    "DATA.ROTATE90": False,
    "DATA.VFLIP": 0.0,
    "DATA.VALUE_RANGE": 255,
    "MODEL.HEAD": "linear",
    "MODEL.MASKING": "random",
    "MODEL.NUM_QUERIES": 32,
    "MODEL.RANDOM_INIT": False,
    "MODEL.TASK": "classify",
    "TRAIN.BEST_BY": "top1",
    "TRAIN.CLASS_WEIGHTS": None,
}


def in_present_keys(saved: Mapping[str, object], now: Mapping[str, object]) -> Tree:
    """Return a saved config completed by those of the keys ADDED that it lacks, without keys that had no effect.

    Args:
        saved, now: configs as nested dictionaries, of an older and of this version.
    """
    values, present = flatten(saved), flatten(now)
    kept = {key: value for key, value in values.items() if key in present or key not in KEYS}
    added = {key: value for key, value in ADDED.items() if key in present and key not in values}
    whole: Tree = {}
    for key, value in (kept | added).items():
        update(whole, nest(key, value))
    return whole
