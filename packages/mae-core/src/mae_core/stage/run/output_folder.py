"""Where a run writes without -output: `runs/pretrain-001`, the next number each time, and `runs/latest`, a link."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mae_core.process import distributed, log
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import LATEST
from mae_core.weights.checkpoint_folder import list_checkpoints
from mae_core.weights.checkpoint_state import STATE

ROOT = Path("runs")
_NAMES = {
    "PRETRAIN": "pretrain",
    "REFINE": "refine",
    "DISTILL": "distill",
    "FINETUNE": "finetune",
    "LINEARPROBE": "probe",
}


def with_output(config: Config, suffix: str = "") -> Config:
    """Return the config with a folder in SAVE: the user's, or else the next that is free, the same on every rank.

    Args:
        suffix: of the folder's name.
    """
    if config.SAVE is not None:
        return config
    distributed.init()
    folder = planned_output(config, suffix)
    settled = config.clone()
    settled.defrost()
    settled.SAVE = str(folder)
    settled.freeze()
    return settled


def announce(folder: Path) -> None:
    """Point `latest` to a folder that a run chose itself, now that it has begun, and log both."""
    linked = _link_latest(folder)
    log.LOGGER.info(f"this run writes to {folder}{f' (also {ROOT / LATEST})' if linked else ''}; -output names another")


def _link_latest(folder: Path) -> bool:
    """Point `latest` beside the folder to it; return whether the file system took it."""
    temporary = folder.parent / f".latest.{os.getpid()}.tmp"
    with suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, folder.parent / LATEST)
        return True
    return False


def planned_output(config: Config, suffix: str = "") -> Path:
    """Return the folder that a run of this config would write to; the main rank's choice holds on all."""
    if config.SAVE is not None:
        return Path(config.SAVE)
    name = _NAMES[config.MODEL.TYPE] + suffix
    number = next_number(ROOT, name) if distributed.is_main() else 0
    return ROOT / f"{name}-{int(distributed.sum_over_ranks([float(number)])[0]):03d}"


def next_number(root: Path, name: str) -> int:
    """Return the number after the last folder `name-NUMBER` with anything in it: failed starts leave none."""
    numbers = [0]
    for folder in root.glob(f"{name}-*"):
        match = re.fullmatch(rf"{re.escape(name)}-(\d+)", folder.name)
        if match and _holds_something(folder):
            numbers.append(int(match[1]))
    return max(numbers) + 1


def _holds_something(folder: Path) -> bool:
    """Return whether a folder holds more than the lock and the empty folder that a run begins with."""
    found = {path.name for path in folder.iterdir()} - {".lock", "checkpoints"} if folder.is_dir() else {"a file"}
    return bool(found) or any((folder / "checkpoints").glob("*"))


def other_stage(output: str, config: Mapping[str, Any]) -> str | None:
    """Return the stage of the run in a folder where it is not this config's."""
    for checkpoint in list_checkpoints(Path(output) / "checkpoints"):
        with suppress(OSError, ValueError, KeyError, AttributeError):
            stage = json.loads((checkpoint / STATE).read_text())["config"].get("MODEL", {}).get("TYPE")
            return stage if stage != config.get("MODEL", {}).get("TYPE") else None
    return None
