"""Checkpoint folders as they are read: their names, which is the newest, whether one is whole. Needs no Paddle.

checkpoints/step_00000600/model.safetensors      every parameter, by structured name
                          optimizer.safetensors  "<parameter name>/<moment>"
                          ema.safetensors        averaged weights, where the run averages them
                          state.json             position, config, scaler, SHA-256 of these files
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from mae_core.errors import CheckpointError
from mae_core.files import sha256
from mae_core.weights.sources import find_file

SCHEMA = 1
MODEL, OPTIMIZER, EMA, STATE = "model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json"


def step_folder(folder: Path, step: int) -> Path:
    """Return where a step's checkpoint lies in a run's checkpoint folder."""
    return folder / f"step_{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """List complete checkpoint folders, newest first."""
    return sorted(folder.glob("step_*"), reverse=True)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read and verify one checkpoint; return its state.

    Raises:
        CheckpointError: it is incomplete, damaged, or of a newer schema.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
        if state["schema"] > SCHEMA:
            raise CheckpointError(f"{checkpoint} has schema {state['schema']}, newer than {SCHEMA}: upgrade mae-core")
        for name, expected in state["sha256"].items():
            if sha256(checkpoint / name) != expected:
                raise CheckpointError(f"{checkpoint / name} is damaged (checksum differs)")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint} is incomplete or damaged ({error})") from None
    return state


def newest_checkpoint(folder: Path, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """Find the newest checkpoint that verifies.

    Args:
        folder: holds `step_*`.
        warn: receives a line for each damaged one passed over.

    Raises:
        CheckpointError: there is none, or all are damaged (each reason is given).
    """
    reasons = []
    for checkpoint in list_checkpoints(folder):
        try:
            return checkpoint, read_state(checkpoint)
        except CheckpointError as error:
            reasons.append(str(error))
            warn(f"{error}; trying the one before")
    raise CheckpointError("; ".join(reasons) or f"{folder} holds no checkpoint to resume from")


def read_ema(checkpoint: Path) -> dict[str, np.ndarray] | None:
    """Read the averaged weights of a verified checkpoint; None where it holds none."""
    path = checkpoint / EMA
    return load_file(path) if path.exists() else None


def find_weights(path: Path) -> Path:
    """Turn what a user names into a weight file; the suffix may be left out.

    Of a checkpoint with averaged weights these are taken, as validation scored them.
    """
    if (path / "checkpoints").is_dir():
        path = newest_checkpoint(path / "checkpoints", warn=lambda line: None)[0]
    elif (path / STATE).exists():
        read_state(path)
    averaged = path / EMA
    return averaged if averaged.is_file() else find_file(path)
