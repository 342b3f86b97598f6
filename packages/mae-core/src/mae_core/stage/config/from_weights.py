"""A run remembers its model: what weights, or the run that is resumed, lend to a config."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mae_core.errors import CheckpointError
from mae_core.stage.config.from_run import (
    ADDED,
    DATA_PATH,
    OF_THE_COMMAND,
    begin_annealing,
    lent_by_run,
    open_resumed,
    path_of_run,
    run_of,
)
from mae_core.stage.config.merge import COMMAND_LINE, Merge
from mae_core.stage.config.node import Config, Values, get_key, plain
from mae_core.stage.config.recipe import Recipe, Say
from mae_core.stage.config.weight_record import CHANNELS, GEOMETRY, PIXELS, Record, adapt_to_images, record_of
from mae_core.weights.checkpoint_folder import Checkpoint, open_weights
from mae_core.weights.sources import Weights

# Of weights that are scored or predict, what a training run did about bad images does not matter, nor at which block
# of a deeper encoder a probe was made: the weights end with it.
_OF_THE_TRAINING = ("DATA.ON_ERROR", "DATA.MAX_BAD", "MODEL.BLOCK")
_CLASSES = "MODEL.NUM_CLASSES"
_PATCH, _SIZE = "MODEL.PATCH_SIZE", "DATA.IMAGE_SIZE"


@dataclass(frozen=True)
class Opened:
    """A config, and what it names: opened and verified once, where the config is read.

    Args:
        weights: of MODEL.PRETRAINED; None where it names none, or a run is resumed.
        checkpoint: of MODEL.RESUME; None where a run begins.
        teacher: weights of MODEL.TEACHER, of stages that have one.
    """

    config: Config
    weights: Weights | None = None
    checkpoint: Checkpoint | None = None
    teacher: Weights | None = None


def say_on_stderr(line: str) -> None:
    """Print a line beside a command's output, on the main rank."""
    if not int(os.environ.get("PADDLE_TRAINER_ID") or 0):
        print(line, file=sys.stderr)


def load_config(
    recipe: Recipe,
    cfg: str | None,
    flags: Mapping[str, object],
    pairs: Sequence[str] = (),
    *,
    allow_drift: Sequence[str] = (),
    whole: bool = False,
    say: Say = say_on_stderr,
) -> Opened:
    """Build the frozen config: defaults, what the named weights or the resumed run lend, and what the user states.

    Args:
        allow_drift: keys that may contradict the weights.
        whole: take the head too, and all of MODEL and DATA from weights of the same stage, as `-eval` does.
        say: receives a line on what was taken.

    Raises:
        ConfigError: a key, a value, or what must hold between them; the resumed run is of another stage.
        CheckpointError: weights or checkpoint are missing, damaged or refused, or the user states another model than
            the weights are of.
    """
    merge = recipe.merge(cfg, flags, pairs, say, trains=not whole)
    return complete(recipe, merge, allow_drift=allow_drift, whole=whole, say=say)


def complete(
    recipe: Recipe, merge: Merge, *, allow_drift: Sequence[str] = (), whole: bool = False, say: Say = say_on_stderr
) -> Opened:
    """Complete what the user states by what weights or the resumed run lend, and freeze it; see `load_config`."""
    config = merge.config
    weights, checkpoint = None, open_resumed(config)
    if checkpoint:
        lent = lent_by_run(recipe, checkpoint)
        source = str(lent["SAVE"])
        if config.TRAIN.get("ANNEAL") is True:
            begin_annealing(config, checkpoint)
            del lent["SAVE"]
        merge.lend(lent, source)
    elif config.MODEL.PRETRAINED:
        weights = open_weights(config.MODEL.PRETRAINED)
        record = record_of(weights, config.MODEL.PRETRAINED)
        weights, record = adapt_to_images(weights, record, merge, say)
        if record.stage:
            _keep_size(merge, record, say)
        recorded = _lent_by_weights(recipe, record, whole or config.EVAL)
        if DATA_PATH in recorded:
            recorded[DATA_PATH] = path_of_run(run_of(weights.file.parent), str(recorded[DATA_PATH]))
        merge.lend(_count_classes(recipe, config) | recorded, record.source)
        _refuse_unknown_heads(merge, record)
        _refuse_contradictions(merge, record, allow_drift)
        _say_taken(recipe, config, record.source, recorded, say)
    else:
        merge.lend(_count_classes(recipe, config), config.DATA.DATA_PATH)
    teacher = open_weights(config.MODEL.TEACHER) if config.MODEL.get("TEACHER") else None
    if teacher and not (weights or checkpoint):
        record = record_of(teacher, config.MODEL.TEACHER)
        lent = {key: value for key, value in record.values.items() if key.startswith("DATA.") or key == _PATCH}
        merge.lend(lent, record.source)  # how images are read and cut; the sizes are the student's own
        _say_taken(recipe, config, record.source, lent, say)
    if not whole and not config.EVAL:
        _say_classes(recipe, config, say)
    return Opened(recipe.finish(config, training=not whole), weights, checkpoint, teacher)


def _count_classes(recipe: Recipe, config: Config) -> Values:
    """Return the number of classes that the data folder names, for a head that is trained."""
    count = recipe.count_classes(config.DATA.DATA_PATH, config.DATA.TRAIN_LIST) if recipe.count_classes else 0
    return {_CLASSES: count} if count else {}


def _say_classes(recipe: Recipe, config: Config, say: Say) -> None:
    """Describe that the head is as wide as the data's classes are many, or that it is not."""
    if not (counted := _count_classes(recipe, config)):
        return
    outputs, folder = config.MODEL.NUM_CLASSES, config.DATA.DATA_PATH
    if outputs != counted[_CLASSES]:
        say(f"{_CLASSES} is {outputs}, {folder} names {counted[_CLASSES]} classes")
    elif outputs != recipe.keys[_CLASSES].default:
        say(f"from the classes of {folder}: {_CLASSES} {outputs}")


def _lent_by_weights(recipe: Recipe, record: Record, whole: bool) -> Values:
    lent = record.values | (record.head if whole else {})
    if whole and record.stage == recipe.stage:
        saved = {key: value for key, value in record.config.items() if not isinstance(value, dict)}
        groups = {key: value for key, value in {**ADDED, **saved}.items() if key.startswith(("MODEL.", "DATA."))}
        # A label is among the values, and shapes show what holds of these weights.
        kept = {*OF_THE_COMMAND, *_OF_THE_TRAINING, "MODEL.NAME", *record.binding}
        lent |= {key: value for key, value in groups.items() if key not in kept}
    return lent


def _keep_size(merge: Merge, record: Record, say: Say) -> None:
    """Let a run keep the size of its network, whatever a config file beside it is for; what is typed still counts.

    A file's image size goes with its patch size.
    """
    of_file = {key for key, source in merge.stated.items() if source != COMMAND_LINE}
    other = [
        key
        for key in GEOMETRY
        if key in of_file & record.values.keys()
        if key != CHANNELS and plain(get_key(merge.config, key)) != record.values[key]
    ]
    if _PATCH in other and _SIZE in of_file & record.values.keys():
        other.append(_SIZE)
    for key in other:
        del merge.stated[key]
    if other:
        say(f"{record.source} keeps its own size; not taken from the config file: {', '.join(other)}")


def _refuse_unknown_heads(merge: Merge, record: Record) -> None:
    """Refuse the default number of heads for a width of which nobody has stated how many it has."""
    for part in ("ENCODER", "DECODER"):
        width, heads = f"MODEL.{part}.EMBED_DIM", f"MODEL.{part}.NUM_HEADS"
        if width in record.values and heads not in record.values and heads in merge.keys and heads not in merge.stated:
            raise CheckpointError(
                f"{record.source} does not hold how many heads its width of {record.values[width]} has:"
                f" add {heads} NUMBER"
            )


def _refuse_contradictions(merge: Merge, record: Record, allow_drift: Sequence[str]) -> None:
    wrong = [
        key
        for key in sorted(record.binding & merge.keys.keys())
        if plain(get_key(merge.config, key)) != record.values[key] and key not in allow_drift
    ]
    if not wrong:
        return
    reasons = [
        f"{key} is {record.values[key]!r} in these weights, {plain(get_key(merge.config, key))!r} was asked for"
        for key in wrong
    ]
    model = merge.config.MODEL.NAME if "MODEL.NAME" in merge.stated else "this model"
    advice = f"leave {'it' if len(wrong) == 1 else 'them'} out, or name other weights"
    if CHANNELS in wrong:
        advice += ", or adapt these: MODEL.CHANNELS_FROM repeat, mean or first"
    if set(wrong) <= set(PIXELS):
        advice += f"; to train on in spite of it: {drift_flags(wrong)}"
    raise CheckpointError(f"{record.source} does not fit {model}: {'; '.join(reasons)}; {advice}")


def _say_taken(recipe: Recipe, config: Config, source: str, recorded: Values, say: Say) -> None:
    """Name what now differs from the defaults because the weights hold it."""
    taken = [
        f"{key} {value}"
        for key, value in recorded.items()
        if key in recipe.keys and key != "MODEL.TYPE"
        if plain(get_key(config, key)) == value != plain(recipe.keys[key].default)
    ]
    if taken:
        say(f"from {source}: {', '.join(taken)}")


def drift_flags(keys: Iterable[str]) -> str:
    """Return the flags that let these keys differ, as they are typed."""
    return " ".join(f"--allow-drift {key}" for key in keys)
