"""What weights record of their model and images, in config keys, also where they are adapted to other channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from mae_core.stage.config.merge import Merge
from mae_core.stage.config.node import Values, flatten
from mae_core.stage.config.recipe import Say, is_label
from mae_core.weights.adaptation import mix_channels
from mae_core.weights.architecture import Architecture
from mae_core.weights.sources import Weights

# Pre-training's default of the evaluation crop; a run of small pictures that shows more of them has a reason to.
_USUAL_CROP = ("PRETRAIN", 0.875)
# Config keys of the model, by what `weights.Architecture` calls them.
GEOMETRY = {
    "MODEL.PATCH_SIZE": "patch_size",
    "MODEL.MLP_RATIO": "mlp_ratio",
    "MODEL.QKV_BIAS": "qkv_bias",
    "MODEL.ENCODER.EMBED_DIM": "embed_dim",
    "MODEL.ENCODER.DEPTH": "depth",
    "MODEL.ENCODER.NUM_HEADS": "num_heads",
    "MODEL.DECODER.KIND": "decoder_kind",
    "MODEL.DECODER.EMBED_DIM": "decoder_embed_dim",
    "MODEL.DECODER.DEPTH": "decoder_depth",
    "MODEL.DECODER.NUM_HEADS": "decoder_num_heads",
    "DATA.IMAGE_CHANNELS": "in_chans",
}
# What a classifier's shapes show, for scoring and exporting it.
HEAD = {"MODEL.NUM_CLASSES": "num_classes", "MODEL.GLOBAL_POOL": "global_pool"}
# What a header, or the run of weights, records of images; the first three may not be contradicted.
_IMAGES = {
    "DATA.IMAGENET_MEAN": "pixel_mean",
    "DATA.IMAGENET_STD": "pixel_std",
    "DATA.VALUE_RANGE": "value_range",
    "DATA.CROP_PCT": "crop_pct",
    "DATA.BANDS": "bands",
    "DATA.EXIF": "exif",
    "DATA.NODATA": "nodata",
}
PIXELS = tuple(_IMAGES)[:3]
# No shape shows these: where the header lacks them too, they are guesses, which contradict nobody.
_GUESSED = ("patch_size", "in_chans", "num_heads", "decoder_num_heads")
CHANNELS, MEAN, STD = "DATA.IMAGE_CHANNELS", "DATA.IMAGENET_MEAN", "DATA.IMAGENET_STD"
_OF_CHANNELS = tuple(key.partition(".")[2] for key in (CHANNELS, MEAN, STD, "DATA.BANDS"))


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


@dataclass(frozen=True)
class Record:
    """What weights record.

    Args:
        source: what the user named.
        stage: MODEL.TYPE of the run they are of; None where they are of no run.
        values: by config key, what holds where the user states nothing else.
        binding: the keys among these that the user may not state otherwise.
        head: what shapes show of a classifier, by config key; {} where there is none.
        config: the run's config by dotted key; {} where they are of no run.
    """

    source: str
    stage: str | None = None
    values: Values = field(default_factory=dict)
    binding: frozenset[str] = frozenset()
    head: Values = field(default_factory=dict)
    config: Values = field(default_factory=dict)


def record_of(weights: Weights, named: str) -> Record:
    """Return what weights record.

    Args:
        named: what the user calls them.
    """
    model, config = weights.architecture(), flatten(weights.config)
    values = _known(model, GEOMETRY)
    certain = {key for key in values if GEOMETRY[key] not in _GUESSED or GEOMETRY[key] in weights.metadata.known()}
    if model.img_size is not None:
        height, width = model.img_size
        values["DATA.IMAGE_SIZE"] = height if height == width else [height, width]
    if model.norm_pix_loss is not None:
        values["MODEL.NORM_PIX_LOSS"] = model.norm_pix_loss
    if is_label(config.get("MODEL.NAME")):
        values["MODEL.NAME"] = config["MODEL.NAME"]
    values |= _images(model, config)
    certain.update(key for key in PIXELS if key in values)
    head = _known(model, HEAD) if (model.num_classes or 0) > 1 else {}
    stage = config.get("MODEL.TYPE")
    return Record(named, stage if isinstance(stage, str) else None, values, frozenset(certain), head, config)


def _known(model: Architecture, names: dict[str, str]) -> Values:
    """Return what is known of a model, by config key."""
    found = {key: getattr(model, name) for key, name in names.items()}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items() if v is not None}


def _images(model: Architecture, config: Values) -> Values:
    """Return what the weights, and over them the run that they are of, record of images, by config key."""
    found = _known(model, _IMAGES)
    if config:
        nested = {group: _group_of(config, group) for group in ("DATA", "MODEL")}
        of_run = input_settings(nested)
        found |= {key: of_run.get(name) for key, name in _IMAGES.items() if key not in PIXELS}
        found |= {key: config[key] for key in PIXELS if key in config}
    return {key: value for key, value in found.items() if value is not None}


def _group_of(config: Values, group: str) -> Values:
    return {key.partition(".")[2]: value for key, value in config.items() if key.startswith(f"{group}.")}


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
