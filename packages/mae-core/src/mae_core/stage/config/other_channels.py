"""What weights tell of a config whose images have another number of channels than theirs, with MODEL.CHANNELS_FROM."""

from collections.abc import Mapping
from typing import Any

from mae_core.stage.config.node import Config
from mae_core.weights.channels import mixed_statistics, mixture

CHANNELS, MEAN, STD, BANDS = "DATA.IMAGE_CHANNELS", "DATA.IMAGENET_MEAN", "DATA.IMAGENET_STD", "DATA.BANDS"


def told_of_other_channels(values: Mapping[str, Any], config: Config, defaults: Config) -> dict[str, Any] | None:
    """Return values by key for the channels that the config asks for; None where the weights stay as they are.

    Bands are left to the user. Pixel statistics are mixed as the channels are: those of the weights, or the defaults.

    Args:
        values: by key, what the weights tell.
    """
    old, new, way = values.get(CHANNELS), config.DATA.IMAGE_CHANNELS, config.MODEL.CHANNELS_FROM
    if way is None or old in (None, new):
        return None
    mean, std = values.get(MEAN, defaults.DATA.IMAGENET_MEAN), values.get(STD, defaults.DATA.IMAGENET_STD)
    told = {key: value for key, value in values.items() if key not in (CHANNELS, MEAN, STD, BANDS)}
    if not len(mean) == len(std) == old:
        return told
    mixed_mean, mixed_std = mixed_statistics(mixture(way, old, new), mean, std)
    return {**told, MEAN: mixed_mean, STD: mixed_std}
