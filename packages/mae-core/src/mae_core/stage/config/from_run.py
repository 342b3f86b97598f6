"""The run that is resumed or looked at: its folder, its data, and its config in the keys of this version."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mae_core.errors import ConfigError
from mae_core.process import log
from mae_core.stage.config.foreign_keys import KEYS
from mae_core.stage.config.node import Config, Tree, Values, flatten, nest, to_dict, update
from mae_core.stage.config.recipe import Recipe
from mae_core.weights.checkpoint_folder import (
    RESUMED,
    Checkpoint,
    list_checkpoints,
    newest_checkpoint,
    open_checkpoint,
)
from mae_core.weights.checkpoint_state import STATE

# Keys that later versions added, with what held before them.
# A new key that changes what is computed belongs here, or runs of older versions are refused as drifted (a test
# compares the configs of the first version).
ADDED: Values = {
    "DATA.BANDS": None,
    "DATA.CROP": "resized",
    "DATA.CROPS": 1,
    "DATA.DECODER": "exact",
    "DATA.EXIF": False,
    "DATA.IGNORE": 255,
    "DATA.NODATA": None,
    "DATA.REPEATS": 1,
    "DATA.ROTATE90": False,
    "DATA.SCALE_JITTER": [0.5, 2.0],
    "DATA.VFLIP": 0.0,
    "DATA.VALUE_RANGE": 255,
    "MODEL.BLOCK": -1,
    "MODEL.DECODER.KIND": "full",
    "MODEL.DECODER.PREDICTED": 0.25,
    "MODEL.HEAD": "linear",
    "MODEL.MASKING": "random",
    "MODEL.NUM_QUERIES": 32,
    "MODEL.RANDOM_INIT": False,
    "MODEL.TASK": "classify",
    "TRAIN.ANNEAL": 0,
    "TRAIN.BEST_BY": "top1",
    "TRAIN.CLASS_WEIGHTS": None,
    "TRAIN.DECAY": 0.2,
    "TRAIN.EMA": None,
    "TRAIN.SCHEDULE": "cosine",
}
DATA_PATH = "DATA.DATA_PATH"
# What belongs to the command and not to the model of the run that it resumes or scores.
OF_THE_COMMAND = ("MODEL.PRETRAINED", "MODEL.CHANNELS_FROM", "MODEL.RESUME", "EVAL")


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


def open_resumed(config: Config) -> Checkpoint | None:
    """Open the checkpoint that MODEL.RESUME names; None where a run begins.

    Raises:
        ConfigError: `auto` without a folder to look in.
        CheckpointError: there is none, or all are damaged.
    """
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


def run_of(checkpoint: Path) -> Path:
    """Return the folder of the run that wrote a checkpoint, given the checkpoint's."""
    folder = checkpoint.resolve() if checkpoint.is_symlink() else checkpoint
    return Path(os.path.normpath(folder / ".." / ".."))


def path_of_run(run: Path, path: str) -> str:
    """Return a path of a run's config as it is found from here: a relative one counts from where the run was started.

    What is neither here nor there, or a stream, stays as it is.
    """
    if os.path.exists(path):
        return path
    paths = (os.path.join(folder, path) for folder in _folders_of_starts(run))
    return next((os.path.realpath(other) for other in paths if os.path.exists(other)), path)


def _folders_of_starts(run: Path) -> Iterator[str]:
    """Yield the folders in which a run was started, the last first; see `training.provenance`."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # it is missing or damaged
        starts = json.loads((run / "provenance.json").read_text(encoding="utf-8"))["starts"]
        yield from (str(start.get("folder", "")) for start in reversed(starts))


def load_run(recipe: Recipe, run: str) -> Config:
    """Build the config of a finished run, with its data as they are found from here.

    Raises:
        ConfigError: the run's `config.yaml` cannot be used.
    """

    def found(config: Config) -> Values:
        return {DATA_PATH: path_of_run(Path(run), config.DATA.DATA_PATH)}

    return recipe.finish(recipe.merge(f"{run}/config.yaml", found).config)


def begin_annealing(config: Config, checkpoint: Checkpoint) -> None:
    """Put the checkpoint's step in the place of TRAIN.ANNEAL True.

    Raises:
        ConfigError: the output folder is the run's own, which stays what it is.
    """
    config.TRAIN.ANNEAL = checkpoint.state.step
    if config.SAVE is not None and Path(config.SAVE).resolve() == run_of(checkpoint.folder).resolve():
        raise ConfigError(
            f"--anneal ends a copy of the run, and {config.SAVE} is the run itself, which other copies may begin from:"
            " choose another -output"
        )


def lent_by_run(recipe: Recipe, checkpoint: Checkpoint) -> Values:
    """Return the config of the resumed run, by dotted key, its data as found from here, and its folder as SAVE.

    Raises:
        ConfigError: the run is of another stage.
    """
    run = run_of(checkpoint.folder)
    lent = flatten(in_present_keys(checkpoint.state.config, to_dict(recipe.defaults)))
    stage = lent.get("MODEL.TYPE", recipe.stage)
    if stage != recipe.stage:
        raise ConfigError(
            f"{run} is a run of another stage ({stage}, not {recipe.stage}), which cannot go on here;"
            f" start from its weights with -pretrained {run}"
        )
    found = {DATA_PATH: path_of_run(run, str(lent[DATA_PATH]))} if DATA_PATH in lent else {}
    return {key: v for key, v in lent.items() if key not in OF_THE_COMMAND} | found | {"SAVE": str(run)}
