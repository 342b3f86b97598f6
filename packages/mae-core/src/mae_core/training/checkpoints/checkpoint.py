"""Checkpoints: one folder per step, written whole or not at all, checked when read.

What lies in one: `weights/checkpoint_folder.py`, which reads and verifies them.
Resuming needs no generator state: everything random is a function of (seed, epoch or step, sample).
"""

import copy
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from mae_core.errors import CheckpointError
from mae_core.files import publish_folder, write_atomic
from mae_core.training.checkpoints.writer import host_copy
from mae_core.training.provenance import environment
from mae_core.training.sharding import ShardedOptimizer, owns
from mae_core.weights.checkpoint_folder import list_checkpoints, step_folder
from mae_core.weights.checkpoint_state import (
    EMA,
    MODEL,
    OPTIMIZER,
    STATE,
    State,
    decode_record,
    encode_record,
    encode_state,
)
from mae_core.weights.formats.pickle_values import safe_text
from mae_core.weights.formats.safetensors_file import read_safetensors, write_safetensors
from mae_core.weights.load import load_arrays
from mae_core.weights.metadata import metadata_of

_LEFTOVER = re.compile(r"\.step_[0-9]{8,12}\.[0-9]+\.(old\.)?tmp")


@dataclass(frozen=True)
class Snapshot:
    """Everything a checkpoint holds, copied to host memory: the run may go on while it is written.

    Args:
        arrays: by file, by name.
        header: of the files of weights.
    """

    arrays: dict[str, dict[str, np.ndarray]]
    header: dict[str, str]
    state: State


def take_snapshot(
    model: nn.Layer,
    optimizer: paddle.optimizer.Optimizer | ShardedOptimizer,
    state: State,
    ema: Mapping[str, np.ndarray] | None = None,
) -> Snapshot:
    """Copy what a checkpoint holds.

    Args:
        state: of the run; what computes it is added.
        ema: averaged weights, by structured name; a copy of the caller's.
    """
    header = {"format": "mae-core", "schema": "1", "architecture": json.dumps(metadata_of(model).known())}
    arrays = {MODEL: model_arrays(model), OPTIMIZER: _optimizer_arrays(model, optimizer)}
    if ema is not None:
        arrays[EMA] = dict(ema)
    return Snapshot(arrays, header, replace(copy.deepcopy(state), versions=environment()))


def write_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Write `folder/step_XXXXXXXX`, whole or not at all.

    Raises:
        CheckpointError: the disk refused; earlier checkpoints are untouched.
    """
    final = step_folder(folder, snapshot.state.step)
    try:
        # A folder that is replaced is of this very run, before it went back: `begin` refuses one with another run.
        with publish_folder(final) as temporary:
            sums = {
                name: write_safetensors(temporary / name, arrays, {} if name == OPTIMIZER else snapshot.header)
                for name, arrays in sorted(snapshot.arrays.items())
            }
            (temporary / STATE).write_bytes(encode_state(replace(snapshot.state, sha256=sums)))
    except OSError as error:
        earlier = list_checkpoints(folder)
        left = f"{earlier[0].name} and earlier ones are intact" if earlier else "there is no earlier one"
        raise CheckpointError(f"checkpoint {final} could not be written: {error}; {left}") from None
    return final


def save_checkpoint(
    folder: Path,
    model: nn.Layer,
    optimizer: paddle.optimizer.Optimizer | ShardedOptimizer,
    state: State,
    ema: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Copy and write a checkpoint; see `take_snapshot` and `write_snapshot`."""
    return write_snapshot(folder, take_snapshot(model, optimizer, state, ema))


def update_state(checkpoint: Path, changes: Mapping[str, Any]) -> None:
    """Change entries that a checkpoint keeps, such as its score, which is known only after it was written.

    Raises:
        CheckpointError: the disk refused; the checkpoint is as it was.
    """
    file = checkpoint / STATE
    try:
        write_atomic(file, encode_record(decode_record(file.read_bytes()) | dict(changes)))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} could not be written: {error}; the checkpoint is intact") from None


def model_arrays(model: nn.Layer) -> dict[str, np.ndarray]:
    """Copy parameters and buffers to NumPy, by structured name."""
    return {name: host_copy(value) for name, value in model.state_dict().items()}


def _optimizer_arrays(
    model: nn.Layer, optimizer: paddle.optimizer.Optimizer | ShardedOptimizer
) -> dict[str, np.ndarray]:
    """Key accumulators by structured names: Paddle's own count up within a process."""
    structured = {p.name: name for name, p in model.named_parameters()}
    state = dict(optimizer.state_dict())
    state.pop("LR_Scheduler", None)
    masters = state.pop("master_weights", {})
    arrays = {f"{structured[name]}/master": host_copy(value) for name, value in masters.items()}
    for key, value in state.items():
        owner = next(name for name in structured if key.startswith(f"{name}_"))
        copied = value if isinstance(value, np.ndarray) else host_copy(value)  # other ranks sent copies
        arrays[f"{structured[owner]}/{key[len(owner) + 1 :]}"] = copied
    return arrays


def sweep(folder: Path) -> None:
    """Delete what a killed save left behind; only the run that holds the folder's lock may."""
    for leftover in folder.glob(".step_*.tmp"):
        if _LEFTOVER.fullmatch(leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)


def restore(checkpoint: Path, model: nn.Layer, optimizer: paddle.optimizer.Optimizer | ShardedOptimizer) -> None:
    """Load the weights and the optimizer's moments of a verified checkpoint, exactly.

    Raises:
        CheckpointError: they are of another model.
    """
    load_arrays(model, read_safetensors(checkpoint / MODEL)[0], str(checkpoint))
    parameters = dict(model.named_parameters())
    state: dict[str, Any] = {"master_weights": {}}
    for key, value in read_safetensors(checkpoint / OPTIMIZER)[0].items():
        name, _, kind = key.rpartition("/")
        if name not in parameters or list(value.shape) not in (list(parameters[name].shape), [1], []):
            raise CheckpointError(
                f"{checkpoint / OPTIMIZER} does not fit this model: {safe_text(key)} {list(value.shape)}"
            )
        if not owns(optimizer, parameters[name]):
            continue
        tensor = paddle.to_tensor(value)
        if kind == "master":
            state["master_weights"][parameters[name].name] = tensor
        else:
            tensor.name = f"{parameters[name].name}_{kind}"
            state[tensor.name] = tensor
    if not state["master_weights"]:
        del state["master_weights"]
    optimizer.set_state_dict(state)
