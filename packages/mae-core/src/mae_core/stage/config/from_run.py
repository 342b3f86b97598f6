"""The run that is resumed: its folder, and the config that it lends."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mae_core.errors import ConfigError
from mae_core.stage.config.node import Config, Tree, Values, flatten, to_dict
from mae_core.stage.config.older_configs import in_present_keys
from mae_core.stage.config.recipe import Recipe
from mae_core.weights.checkpoint_folder import STATE, list_checkpoints

# What belongs to the command and not to the model of the run that it resumes or scores.
OF_THE_COMMAND = ("MODEL.PRETRAINED", "MODEL.RESUME", "EVAL")


def find_resumed(config: Config) -> tuple[Path, list[Path]] | None:
    """Return folder and checkpoints, newest first, of the run that is resumed; None where a run begins.

    Raises:
        ConfigError: `auto` without a folder to look in.
    """
    resume = config.MODEL.RESUME
    if not resume:
        return None
    if resume == "auto" and config.SAVE is None:
        raise ConfigError("-resume auto goes on in the -output folder; name it, or the run: -resume RUN_FOLDER")
    run = Path(config.SAVE if resume == "auto" else resume)
    if (run / STATE).exists():
        target = run.resolve() if run.is_symlink() else run
        return Path(os.path.normpath(target / ".." / "..")), [run]
    checkpoints = list_checkpoints(run / "checkpoints")
    return (run, checkpoints) if checkpoints else None  # whoever resumes names what is wrong


def lent_by_run(recipe: Recipe, run: Path, checkpoints: Sequence[Path]) -> Values:
    """Return the config of the newest checkpoint that can be read, by dotted key, and the run's folder as SAVE.

    Raises:
        ConfigError: the run is of another stage.
    """
    saved = next((found for folder in checkpoints if (found := _saved(folder))), None)
    if saved is None:
        return {}
    lent = flatten(in_present_keys(saved, to_dict(recipe.defaults)))
    stage = lent.get("MODEL.TYPE", recipe.stage)
    if stage != recipe.stage:
        raise ConfigError(
            f"{run} is a run of another stage ({stage}, not {recipe.stage}), which cannot go on here;"
            f" start from its weights with -pretrained {run}"
        )
    return {key: value for key, value in lent.items() if key not in OF_THE_COMMAND} | {"SAVE": str(run)}


def _saved(checkpoint: Path) -> Tree | None:
    try:
        config = json.loads((checkpoint / STATE).read_text())["config"]
        return config if isinstance(config, dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
