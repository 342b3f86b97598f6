"""A run remembers its model: what weights, or the run that is resumed, tell of a config that the user did not state."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mae_core.errors import CheckpointError, ConfigError
from mae_core.process import log
from mae_core.stage.config.added_keys import ADDED, with_added_keys
from mae_core.stage.config.node import Config, flatten, get_key, to_dict
from mae_core.stage.config.recipe import Recipe
from mae_core.stage.told_images import images_told
from mae_core.weights.checkpoint_folder import (
    RESUMED,
    Checkpoint,
    list_checkpoints,
    newest_checkpoint,
    open_checkpoint,
    open_weights,
)
from mae_core.weights.checkpoint_state import STATE
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
# What a classifier's shapes tell, for scoring and exporting it.
HEAD = {"MODEL.NUM_CLASSES": "num_classes", "MODEL.GLOBAL_POOL": "global_pool"}
# What a header, or the files beside weights, tell of images; the first three may not be contradicted.
_IMAGES = {
    "DATA.IMAGENET_MEAN": "pixel_mean",
    "DATA.IMAGENET_STD": "pixel_std",
    "DATA.VALUE_RANGE": "value_range",
    "DATA.CROP_PCT": "crop_pct",
    "DATA.BANDS": "bands",
    "DATA.EXIF": "exif",
}
PIXELS = tuple(_IMAGES)[:3]
# No shape shows these: where the file does not tell them either, they are guesses, which contradict nobody.
_GUESSED = ("patch_size", "in_chans", "num_heads", "decoder_num_heads")
# Of a resumed or evaluated run, what belongs to that command and not to the model.
_OF_THE_COMMAND = ("MODEL.PRETRAINED", "MODEL.RESUME", "EVAL")
# Nor, of weights that are scored or asked, what a training run did about bad images.
_OF_THE_TRAINING = ("DATA.ON_ERROR", "DATA.MAX_BAD")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Opened:
    """A config, and what it names: opened and verified once, where the config is read.

    Args:
        weights: of MODEL.PRETRAINED; None where it names none, or a run is resumed.
        checkpoint: of MODEL.RESUME; None where a run begins.
    """

    config: Config
    weights: Weights | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Told:
    """What weights tell.

    Args:
        source: what the user named.
        stage: MODEL.TYPE of the run they are of; None where they are of no run.
        values: by config key, what holds where the user states nothing else.
        binding: the keys among these that the user may not state otherwise.
        head: what shapes tell of a classifier, by config key; {} where there is none.
        config: the run's config by dotted key; {} where they are of no run.
    """

    source: str
    stage: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    binding: frozenset[str] = frozenset()
    head: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def say_on_stderr(line: str) -> None:
    """Print a line beside a command's output, on the main rank."""
    if not int(os.environ.get("PADDLE_TRAINER_ID") or 0):
        print(line, file=sys.stderr)


def load_config(
    recipe: Recipe,
    cfg: str | None,
    flags: Mapping[str, Any],
    pairs: Sequence[str] = (),
    *,
    allow_drift: Sequence[str] = (),
    whole: bool = False,
    say: Say = say_on_stderr,
) -> Opened:
    """Build the frozen config: defaults, what the named weights or the resumed run tell, and what the user states.

    Args:
        allow_drift: keys that may contradict the weights.
        whole: take the head too, and all of MODEL and DATA from weights of the same stage, as `-eval` does.
        say: receives a line on what was taken.

    Raises:
        ConfigError: a key, a value, or what must hold between them; the resumed run is of another stage.
        CheckpointError: weights or checkpoint are missing, damaged or refused, or the user states another model than
            the weights are of.
    """
    stated = recipe.merge(cfg, flags, pairs)  # says nothing yet
    weights, checkpoint = None, _resumed(stated)
    if checkpoint:
        config = recipe.merge(cfg, flags, pairs, lent=_lent_by_run(recipe, checkpoint), say=say)
    elif stated.MODEL.PRETRAINED:
        weights = open_weights(stated.MODEL.PRETRAINED)
        told = told_by(weights, stated.MODEL.PRETRAINED)
        lent = _lent_by_weights(recipe, told, whole or stated.EVAL)
        if not cfg:
            _refuse_unknown_heads(recipe, told, pairs)
        config = recipe.merge(cfg, flags, pairs, lent=_counted_classes(recipe, stated) | lent, say=say)
        _refuse_contradictions(config, told, allow_drift)
        _say_taken(recipe, config, told, lent, say)
    else:
        config = recipe.merge(cfg, flags, pairs, lent=_counted_classes(recipe, stated), say=say)
    if not whole and not config.EVAL:
        _say_classes(recipe, config, say)
    return Opened(recipe.finish(config, training=not whole), weights, checkpoint)


def _counted_classes(recipe: Recipe, stated: Config) -> dict[str, Any]:
    """Return the number of classes that the data folder names, for a head that is trained."""
    count = recipe.count_classes(stated.DATA.DATA_PATH, stated.DATA.TRAIN_LIST) if recipe.count_classes else 0
    return {"MODEL.NUM_CLASSES": count} if count else {}


def _say_classes(recipe: Recipe, config: Config, say: Say) -> None:
    """Say that the head is as wide as the data's classes are many, or that it is not."""
    if (count := _counted_classes(recipe, config).get("MODEL.NUM_CLASSES")) is None:
        return
    outputs, folder = config.MODEL.NUM_CLASSES, config.DATA.DATA_PATH
    if outputs != count:
        say(f"MODEL.NUM_CLASSES is {outputs}, {folder} names {count} classes")
    elif outputs != recipe.defaults.MODEL.NUM_CLASSES:
        say(f"from the classes of {folder}: MODEL.NUM_CLASSES {outputs}")


def _lent_by_weights(recipe: Recipe, told: Told, whole: bool) -> dict[str, Any]:
    lent = told.values | (told.head if whole else {})
    if whole and told.stage == recipe.stage:
        saved = {key: value for key, value in told.config.items() if not isinstance(value, dict)}
        groups = {key: value for key, value in {**ADDED, **saved}.items() if key.startswith(("MODEL.", "DATA."))}
        lent |= {key: value for key, value in groups.items() if key not in (*_OF_THE_COMMAND, *_OF_THE_TRAINING)}
    return recipe.known(lent)


def _refuse_unknown_heads(recipe: Recipe, told: Told, pairs: Sequence[str]) -> None:
    """Refuse the default number of heads for a width of which nobody has said how many it has."""
    for part in ("ENCODER", "DECODER"):
        width, heads = f"MODEL.{part}.EMBED_DIM", f"MODEL.{part}.NUM_HEADS"
        if width in told.values and heads not in told.values and recipe.known({heads: 0}) and heads not in pairs:
            raise CheckpointError(
                f"{told.source} does not tell how many heads its width of {told.values[width]} has: add {heads} NUMBER"
            )


def _refuse_contradictions(config: Config, told: Told, allow_drift: Sequence[str]) -> None:
    wrong = {
        key: (_plain(config, key), told.values[key])
        for key in sorted(told.binding)
        if _has(config, key) and _plain(config, key) != told.values[key] and key not in allow_drift
    }
    if not wrong:
        return
    said = [f"{key} is {value!r} in these weights, {stated!r} was asked for" for key, (stated, value) in wrong.items()]
    advice = f"leave {'it' if len(wrong) == 1 else 'them'} out, or name other weights"
    if set(wrong) <= set(PIXELS):
        advice += f"; to train on in spite of it: {drift_flags(wrong)}"
    raise CheckpointError(f"{told.source} does not fit this model: {'; '.join(said)}; {advice}")


def _say_taken(recipe: Recipe, config: Config, told: Told, lent: Mapping[str, Any], say: Say) -> None:
    """Name what now differs from the defaults because the weights say so."""
    taken = [
        f"{key} {value}"
        for key, value in lent.items()
        if _plain(config, key) == value != _plain(recipe.defaults, key) and not key.endswith(".TYPE")
    ]
    if taken:
        say(f"from {told.source}: {', '.join(taken)}")


def drift_flags(keys: Sequence[str] | Mapping[str, Any]) -> str:
    """Return the flags that let these keys differ, as they are typed."""
    return " ".join(f"--allow-drift {key}" for key in keys)


def told_by(weights: Weights, named: str) -> Told:
    """Return what weights tell of their model.

    Args:
        named: what the user calls them.
    """
    model = weights.architecture().known()
    config = flatten(dict(weights.config))
    values = {key: model[name] for key, name in GEOMETRY.items() if name in model}
    binding = {key for key, name in GEOMETRY.items() if key in values and _is_certain(weights, name)}
    if "img_size" in model:
        height, width = model["img_size"]
        values["DATA.IMAGE_SIZE"] = height if height == width else [height, width]
    if "norm_pix_loss" in model:
        values["MODEL.NORM_PIX_LOSS"] = model["norm_pix_loss"]
    if "MODEL.NAME" in config:
        values["MODEL.NAME"] = config["MODEL.NAME"]
    values |= _told_of_images(model, config)
    binding.update(key for key in PIXELS if key in values)
    head = {key: model[name] for key, name in HEAD.items() if model.get("num_classes", 0) > 1}
    return Told(named, config.get("MODEL.TYPE"), values, frozenset(binding), head, config)


def _told_of_images(model: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the weights, and over them the run that they are of, tell of images, by config key."""
    told = {key: model[name] for key, name in _IMAGES.items() if name in model}
    if config:
        nested = {group: _group_of(config, group) for group in ("DATA", "MODEL")}
        of_run = images_told(nested)
        told |= {key: of_run.get(name) for key, name in _IMAGES.items() if key not in PIXELS}
        told |= {key: config[key] for key in PIXELS if key in config}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in told.items() if v is not None}


def _group_of(config: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {key.partition(".")[2]: value for key, value in config.items() if key.startswith(f"{group}.")}


def _is_certain(weights: Weights, name: str) -> bool:
    return name not in _GUESSED or name in weights.facts


def _resumed(config: Config) -> Checkpoint | None:
    """Open the checkpoint that MODEL.RESUME names; None where a run begins."""
    resume = config.MODEL.RESUME
    if not resume:
        return None
    if resume == "auto" and config.SAVE is None:
        raise ConfigError("-resume auto goes on in the -output folder; name it, or the run: -resume RUN_FOLDER")
    run = Path(config.SAVE if resume == "auto" else resume)
    if (run / STATE).exists():
        return open_checkpoint(run, RESUMED)
    if resume == "auto" and not list_checkpoints(run / "checkpoints"):
        return None
    return newest_checkpoint(run / "checkpoints", log.LOGGER.warning, RESUMED)


def _lent_by_run(recipe: Recipe, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the config of the resumed run, and its folder as SAVE."""
    folder, saved = checkpoint.folder, dict(checkpoint.state.config)
    run = Path(os.path.normpath((folder.resolve() if folder.is_symlink() else folder) / ".." / ".."))
    stage = saved.get("MODEL", {}).get("TYPE", recipe.stage)
    if stage != recipe.stage:
        raise ConfigError(
            f"{run} is a run of another stage ({stage}, not {recipe.stage}), which cannot go on here;"
            f" start from its weights with -pretrained {run}"
        )
    lent = recipe.known(flatten(with_added_keys(saved, to_dict(recipe.defaults))))
    lent = {key: value for key, value in lent.items() if key not in _OF_THE_COMMAND}
    return lent | {"SAVE": str(run)}


def _has(config: Config, key: str) -> bool:
    return key in flatten(to_dict(config))


def _plain(config: Config, key: str) -> Any:
    value = get_key(config, key)
    return list(value) if isinstance(value, tuple) else value
