"""Checkpoints: one folder per step, written whole or not at all, checked when read.

What lies in one: `weights/checkpoint_folder.py`, which reads and verifies them.
Resuming needs no generator state: everything random is a function of (seed, epoch or step, sample).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mae_core.errors import CheckpointError
from mae_core.files import publish_folder, sha256, write_atomic
from mae_core.models.facts import describe
from mae_core.weights.checkpoint_folder import EMA, MODEL, OPTIMIZER, SCHEMA, STATE, step_folder
from mae_core.weights.load import load_arrays


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    state: Mapping[str, Any],
    ema: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write `folder/step_XXXXXXXX`.

    Args:
        folder: the run's checkpoint folder.
        step: optimizer steps done.
        state: JSON-able facts to keep (config, scaler, ...).
        ema: averaged weights, by structured name.

    Raises:
        CheckpointError: the disk refused; earlier checkpoints are untouched.
    """
    final = step_folder(folder, step)
    header = {"format": "mae-core", "schema": str(SCHEMA), "architecture": json.dumps(describe(model))}
    try:
        # A folder that is replaced is of this very run, before it went back: `begin` refuses one with another run.
        with publish_folder(final) as temporary:
            save_file(model_arrays(model), temporary / MODEL, metadata=header)
            save_file(_optimizer_arrays(model, optimizer), temporary / OPTIMIZER)
            if ema is not None:
                save_file(dict(ema), temporary / EMA, metadata=header)
            sums = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
            record = {"schema": SCHEMA, "step": step, "sha256": sums, **state}
            (temporary / STATE).write_text(json.dumps(record, indent=1))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {final} could not be written: {error}; earlier ones are intact") from None
    return final


def update_state(checkpoint: Path, changes: Mapping[str, Any]) -> None:
    """Change facts that a checkpoint keeps, such as its score, which is known only after it was written.

    Raises:
        CheckpointError: the disk refused; the checkpoint is as it was.
    """
    file = checkpoint / STATE
    try:
        record = json.loads(file.read_text()) | dict(changes)
        write_atomic(file, json.dumps(record, indent=1).encode())
    except OSError as error:
        raise CheckpointError(f"{file} could not be written: {error}; the checkpoint is intact") from None


def model_arrays(model: nn.Layer) -> dict[str, np.ndarray]:
    """Copy parameters and buffers to NumPy, by structured name."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in model.state_dict().items()}


def _optimizer_arrays(model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> dict[str, np.ndarray]:
    """Key accumulators by structured names: Paddle's own count up within a process."""
    structured = {p.name: name for name, p in model.named_parameters()}
    state = dict(optimizer.state_dict())
    state.pop("LR_Scheduler", None)
    masters = state.pop("master_weights", {})
    arrays = {f"{structured[name]}/master": value.numpy() for name, value in masters.items()}
    for key, value in state.items():
        owner = next(name for name in structured if key.startswith(f"{name}_"))
        arrays[f"{structured[owner]}/{key[len(owner) + 1 :]}"] = value.numpy()
    return {key: np.ascontiguousarray(value) for key, value in arrays.items()}


def sweep(folder: Path) -> None:
    """Delete what a killed save left behind; only the run that holds the folder's lock may."""
    for leftover in folder.glob(".step_*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def restore(checkpoint: Path, model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
    """Load the weights and the optimizer's moments of a verified checkpoint, exactly."""
    load_arrays(model, load_file(checkpoint / MODEL), str(checkpoint))
    own_names = {name: p.name for name, p in model.named_parameters()}
    state: dict[str, Any] = {"master_weights": {}}
    for key, value in load_file(checkpoint / OPTIMIZER).items():
        name, kind = key.rsplit("/", 1)
        tensor = paddle.to_tensor(value)
        if kind == "master":
            state["master_weights"][own_names[name]] = tensor
        else:
            tensor.name = f"{own_names[name]}_{kind}"
            state[tensor.name] = tensor
    if not state["master_weights"]:
        del state["master_weights"]
    optimizer.set_state_dict(state)
