"""What weights record of their model and images, in config keys: by shapes, header and the run beside them."""

from dataclasses import dataclass, field

from mae_core.stage.config.model_name import is_label
from mae_core.stage.config.node import Values, flatten
from mae_core.stage.input_settings import input_settings
from mae_core.weights.architecture import Architecture
from mae_core.weights.sources import Weights

# Config keys of the model, by what `weights.Architecture` calls them.
GEOMETRY = {
    "MODEL.PATCH_SIZE": "patch_size",
    "MODEL.MLP_RATIO": "mlp_ratio",
    "MODEL.QKV_BIAS": "qkv_bias",
    "MODEL.ENCODER.EMBED_DIM": "embed_dim",
    "MODEL.ENCODER.DEPTH": "depth",
    "MODEL.ENCODER.NUM_HEADS": "num_heads",
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
