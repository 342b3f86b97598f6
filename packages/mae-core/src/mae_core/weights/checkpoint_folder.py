"""Checkpoint folders as they are read: their names, which is the newest, whether one is whole. Needs no Paddle.

checkpoints/step_00000600/model.safetensors      every parameter, by structured name
                          optimizer.safetensors  "<parameter name>/<moment>"
                          ema.safetensors        averaged weights, where the run averages them
                          state.json             position, config, scaler, SHA-256 of these files and of itself

Folders of other names are the user's: they are not listed, so never adopted, moved or deleted.
"""

import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.errors import CheckpointError
from mae_core.files import sha256
from mae_core.process import log
from mae_core.weights.checkpoint_state import EMA, MODEL, OPTIMIZER, decode_state
from mae_core.weights.formats.safetensors_file import read_safetensors
from mae_core.weights.sources import find_file

STATE = "state.json"
# What a run needs to go on, beside its weights.
RESUMED = ("scaler", "meter", "bad_steps", "config", "world_size")
_WEIGHTS = (MODEL, EMA)
_ALL = (MODEL, OPTIMIZER, EMA)
_STEP = re.compile(r"step_([0-9]{8,12})")


def step_folder(folder: Path, step: int) -> Path:
    """Return where a step's checkpoint lies in a run's checkpoint folder."""
    return folder / f"step_{step:08d}"


def step_of(checkpoint: Path) -> int | None:
    """Return the step that a checkpoint folder's name tells; None where no run gives that name."""
    match = _STEP.fullmatch(checkpoint.name)
    step = int(match[1]) if match else None
    return step if step is not None and step_folder(checkpoint.parent, step) == checkpoint else None


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoint folders of a run, newest first."""
    ours = [path for path in folder.glob("step_*") if step_of(path) is not None and path.is_dir()]
    return sorted((path for path in ours if not path.is_symlink()), key=lambda path: step_of(path) or 0, reverse=True)


def read_state(checkpoint: Path, needed: Sequence[str] = (), files: Sequence[str] = _ALL) -> dict[str, Any]:
    """Read and verify one checkpoint; return its state.

    Args:
        checkpoint: its folder, or a link to it.
        needed: entries that must be there; RESUMED to go on from it.
        files: which files are verified; the optimizer's is twice as large as the weights, and only resuming reads it.

    Raises:
        CheckpointError: it is incomplete, damaged, or of a newer schema.
    """
    try:
        state = decode_state(_require_file(checkpoint / STATE).read_bytes())
        if missing := [key for key in needed if key not in state]:
            raise ValueError(f"{STATE} lacks {missing[0]}")
        named = step_of(checkpoint.resolve())
        if named not in (None, state["step"]):
            raise ValueError(f"{STATE} says step {state['step']}")
        _verify_files(checkpoint, state["sha256"], files)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} is incomplete or damaged ({error})") from None
    return state


def _verify_files(checkpoint: Path, sums: dict[str, str], files: Sequence[str]) -> None:
    for name in files:
        file = checkpoint / name
        if name in sums and sha256(_require_file(file)) != sums[name]:
            raise ValueError(f"{name}: checksum differs")
        if name not in sums and file.exists():
            raise ValueError(f"{name} has no checksum")


def _require_file(path: Path) -> Path:
    """Refuse what is no file: a pipe or a device could be read for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path.name} is not a file")
    return path


def newest_checkpoint(
    folder: Path, warn: Callable[[str], None], needed: Sequence[str] = (), files: Sequence[str] = _ALL
) -> tuple[Path, dict[str, Any]]:
    """Find the newest checkpoint that verifies.

    Args:
        folder: holds `step_*`.
        warn: receives a line for each damaged one passed over.
        needed, files: see `read_state`.

    Raises:
        CheckpointError: there is none, or all are damaged (each reason is given).
    """
    reasons = []
    for checkpoint in list_checkpoints(folder):
        try:
            return checkpoint, read_state(checkpoint, needed, files)
        except CheckpointError as error:
            reasons.append(str(error))
            warn(f"{error}; trying the one before")
    raise CheckpointError("; ".join(reasons) or f"{folder} holds no checkpoint to resume from")


def read_ema(checkpoint: Path) -> dict[str, np.ndarray] | None:
    """Read the averaged weights of a verified checkpoint; None where it holds none."""
    path = checkpoint / EMA
    return read_safetensors(path)[0] if path.exists() else None


def find_weights(path: Path) -> Path:
    """Turn what a user names into a weight file, verified where a run wrote it; the suffix may be left out.

    Of a checkpoint with averaged weights these are taken, as validation scored them.
    """
    if (path / "checkpoints").is_dir():
        path = newest_checkpoint(path / "checkpoints", log.LOGGER.warning, files=_WEIGHTS)[0]
    elif (path / STATE).exists():
        read_state(path, files=_WEIGHTS)
    averaged = path / EMA
    return averaged if averaged.is_file() else find_file(path)


def config_beside(file: Path) -> dict[str, Any] | None:
    """Return the config that the weights of a verified file were trained with; None where no run wrote them."""
    state = file.parent / STATE
    return dict(decode_state(state.read_bytes()).get("config") or {}) if state.exists() else None
