"""What `mae-data stats` found as a YAML file that a training's config takes, by itself or as its BASE."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_data.errors import DataError, InputError
from mae_data.files import write_atomically

_KEYS = {"IMAGE_CHANNELS": "channels", "VALUE_RANGE": "value_range", "IMAGENET_MEAN": "mean", "IMAGENET_STD": "std"}


def write_stats(path: Path, stats: Mapping[str, Any]) -> None:
    """Write channels, value range, mean and deviation.

    Args:
        path: a .yaml file; one that exists is replaced.
        stats: what `describe_list` returned.

    Raises:
        InputError: the file has another suffix, or cannot be written.
        DataError: a channel is the same everywhere, so that there is nothing to divide by.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--yaml {path} is not a .yaml file")
    constant = [str(channel) for channel, deviation in enumerate(stats["std"]) if not deviation > 0]
    if constant:
        raise DataError(
            f"{stats['list']}: channel {', '.join(constant)} (from 0) is the same in all pixels; leave it out"
        )
    lines = [f"# mae-data stats: {stats['images']} images of {stats['list']}", "DATA:"]
    lines += [f"  {key}: {stats[name]}" for key, name in _KEYS.items()]
    lines += [
        f"  {name.upper()}: {json.dumps(stats[name])}" for name in ("bands", "nodata") if stats.get(name) is not None
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
