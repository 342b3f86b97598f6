"""Weights for images of another number of channels than theirs, where MODEL.CHANNELS_FROM says how they are adapted."""

from dataclasses import replace

from mae_core.stage.config.merge import Merge
from mae_core.stage.config.recipe import Say
from mae_core.stage.config.weight_record import PIXELS, Record, record_of
from mae_core.weights.adaptation import mix_channels
from mae_core.weights.sources import Weights

CHANNELS, MEAN, STD = "DATA.IMAGE_CHANNELS", "DATA.IMAGENET_MEAN", "DATA.IMAGENET_STD"
_OF_CHANNELS = tuple(key.partition(".")[2] for key in (CHANNELS, MEAN, STD, "DATA.BANDS"))


def adapt_to_images(weights: Weights, record: Record, merge: Merge, say: Say) -> tuple[Weights, Record]:
    """Adapt weights to the channels that the user states; as they are where that is not asked for.

    Pixel statistics are mixed as the channels are, and the user may state others; which bands are taken, nobody knows.

    Args:
        record: what the weights record.
        say: receives a line on statistics that are the weights'.

    Returns:
        the weights, and what they record now.
    """
    old, new, way = record.values.get(CHANNELS), merge.config.DATA.IMAGE_CHANNELS, merge.config.MODEL.CHANNELS_FROM
    if way is None or CHANNELS not in merge.stated or not isinstance(old, int) or old == new:
        return weights, record
    mean, std = (_numbers(record.values.get(key, merge.keys[key].default), old) for key in (MEAN, STD))
    data = {key: value for key, value in weights.config.get("DATA", {}).items() if key not in _OF_CHANNELS}
    config = {**weights.config, "DATA": data} if weights.config else weights.config
    adapted = replace(mix_channels(weights, new, way, mean, std), config=config)
    if MEAN not in merge.stated:
        say(f"{MEAN} and {STD} are those of the weights' channels; `mae-data stats` measures those of your images")
    recorded = record_of(adapted, record.source)
    return adapted, replace(recorded, binding=recorded.binding - set(PIXELS))


def _numbers(values: object, count: int) -> list[float]:
    """Return statistics of so many channels; those that are used where none are known, if these are of others."""
    return list(values) if isinstance(values, list | tuple) and len(values) == count else [0.5] * count
