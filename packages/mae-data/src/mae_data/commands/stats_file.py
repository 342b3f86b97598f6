"""The result of `mae-data stats` as a YAML file that a training's config takes, by itself or as its BASE."""

import json
from pathlib import Path

from mae_data.commands.stats import Statistics
from mae_data.errors import DataError, InputError
from mae_data.files import write_atomically

_KEYS = {"IMAGE_CHANNELS": "channels", "VALUE_RANGE": "value_range", "IMAGENET_MEAN": "mean", "IMAGENET_STD": "std"}


def write_stats(path: Path, stats: Statistics) -> None:
    """Write channels, value range, mean and deviation.

    Args:
        path: a .yaml file; one that exists is replaced.
        stats: what `describe_list` returned.

    Raises:
        InputError: the file has another suffix, or cannot be written.
        DataError: a channel is the same everywhere, so that there is nothing to divide by.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--yaml {path} does not end in .yaml; name such a file")
    constant = [str(channel) for channel, deviation in enumerate(stats.std) if not deviation > 0]
    if constant:
        raise DataError(f"{stats.list}: channel {', '.join(constant)} (from 0) is the same in all pixels; leave it out")
    lines = [f"# mae-data stats: {stats.images} images of {stats.list}", "DATA:"]
    lines += [f"  {key}: {getattr(stats, name)}" for key, name in _KEYS.items()]
    also = {"BANDS": stats.bands, "NODATA": stats.nodata}
    lines += [f"  {key}: {json.dumps(value)}" for key, value in also.items() if value is not None]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
