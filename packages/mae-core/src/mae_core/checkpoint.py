"""Checkpoints: one folder a step, written whole or not at all, checked when read.

    checkpoints/step_00000600/model.safetensors      every parameter, by structured name
                              optimizer.safetensors  "<parameter name>/<moment>"
                              ema.safetensors        averaged weights, where the run averages them
                              state.json             position, config, scaler, SHA-256 of these files

Resuming needs no generator state: everything random is a function of (seed, epoch or step, sample).
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mae_core.atomic import fsync_path, sha256, write_atomic
from mae_core.errors import CheckpointError, UserError
from mae_core.weights.architecture import describe
from mae_core.weights.load import other_facts
from mae_core.weights.report import brief
from mae_core.weights.sources import find_file, read_weights

SCHEMA = 1
_FILES = ("model.safetensors", "optimizer.safetensors")
_EMA = "ema.safetensors"


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
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        header = {"format": "mae-core", "schema": str(SCHEMA), "architecture": json.dumps(describe(model))}
        save_file(model_arrays(model), temporary / _FILES[0], metadata=header)
        save_file(_optimizer_arrays(model, optimizer), temporary / _FILES[1])
        if ema is not None:
            save_file(dict(ema), temporary / _EMA, metadata=header)
        sums = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        record = {"schema": SCHEMA, "step": step, "sha256": sums, **state}
        (temporary / "state.json").write_text(json.dumps(record, indent=1))
        for path in (*temporary.iterdir(), temporary):
            fsync_path(path)
        if final.exists():  # of this very run, before it went back: `begin` refuses a folder with another
            _discard(final)
        os.replace(temporary, final)
        fsync_path(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"checkpoint {final} could not be written: {error}; earlier ones are intact") from None
    return final


def step_folder(folder: Path, step: int) -> Path:
    """Return where a step's checkpoint lies in a run's checkpoint folder."""
    return folder / f"step_{step:08d}"


def update_state(checkpoint: Path, changes: Mapping[str, Any]) -> None:
    """Change facts that a checkpoint keeps, such as its score, which is known only after it was written.

    Raises:
        CheckpointError: the disk refused; the checkpoint is as it was.
    """
    file = checkpoint / "state.json"
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


def list_checkpoints(folder: Path) -> list[Path]:
    """List complete checkpoint folders, newest first."""
    return sorted(folder.glob("step_*"), reverse=True)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read and verify one checkpoint; return its state.

    Raises:
        CheckpointError: it is incomplete, damaged, or of a newer schema.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
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


def restore(checkpoint: Path, model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
    """Load the weights and the optimizer's moments of a verified checkpoint, exactly."""
    load_arrays(model, load_file(checkpoint / _FILES[0]), str(checkpoint))
    own_names = {name: p.name for name, p in model.named_parameters()}
    state: dict[str, Any] = {"master_weights": {}}
    for key, value in load_file(checkpoint / _FILES[1]).items():
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


def read_ema(checkpoint: Path) -> dict[str, np.ndarray] | None:
    """Read the averaged weights of a verified checkpoint; None where it holds none."""
    path = checkpoint / _EMA
    return load_file(path) if path.exists() else None


def load_arrays(model: nn.Layer, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Put arrays into a model, every name and shape matching.

    Raises:
        CheckpointError: names or shapes differ; all differences are named.
    """
    own = model.state_dict()
    wrong = [f"missing {name}" for name in own.keys() - arrays.keys()]
    wrong += [f"unexpected {name}" for name in arrays.keys() - own.keys()]
    wrong += [
        f"{name} has shape {list(arrays[name].shape)}, the model {list(own[name].shape)}"
        for name in own.keys() & arrays.keys()
        if list(arrays[name].shape) != list(own[name].shape)
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:10]) + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        raise CheckpointError(f"{source} does not fit this model: {shown}")
    model.set_state_dict({name: paddle.to_tensor(np.asarray(value)) for name, value in arrays.items()})


def load_model(path: str | Path, model: nn.Layer) -> Path:
    """Load weights only, every name and shape matching; `weights.load.load_pretrained` takes what fits instead.

    Args:
        path: a run folder (its newest checkpoint), a checkpoint folder, or a file of any source (see `weights`).

    Returns:
        the file that was read.

    Raises:
        CheckpointError: nothing there, damaged, refused, or of another model.
    """
    weights = read_weights(find_weights(Path(path)))
    arrays = {name: array for name, array in weights.arrays.items() if not name.endswith("num_batches_tracked")}
    if weights.unknown:
        raise CheckpointError(f"{weights.file} does not fit this model: unexpected {brief(weights.unknown)}")
    if wrong := other_facts(weights, model, same_target=True):
        raise CheckpointError(f"{weights.file} does not fit this model: {'; '.join(wrong)}")
    load_arrays(model, arrays, str(weights.file))
    return weights.file


def find_weights(path: Path) -> Path:
    """Turn what a user names into a weight file; the suffix may be left out.

    Of a checkpoint with averaged weights these are taken, as validation scored them.
    """
    if (path / "checkpoints").is_dir():
        path = newest_checkpoint(path / "checkpoints", warn=lambda line: None)[0]
    elif (path / "state.json").exists():
        read_state(path)
    averaged = path / _EMA
    return averaged if averaged.is_file() else find_file(path)


def saved_config(path: str | Path, model_type: str) -> dict[str, Any]:
    """Return the config that weights were trained with, from beside them.

    Args:
        path: see `load_model`.
        model_type: MODEL.TYPE that the config must have.

    Raises:
        UserError: the weights carry no config, or that of another stage.
        CheckpointError: nothing there, or damaged.
    """
    file = find_weights(Path(path))
    if not (file.parent / "state.json").exists():
        raise UserError(f"{file} carries no config; name the model with -cfg")
    config = dict(read_state(file.parent)["config"])
    found = config.get("MODEL", {}).get("TYPE", model_type)
    if found != model_type:
        raise UserError(f"{file} is of a {found} model, {model_type} is needed; name the model with -cfg to take it")
    return config


def prune(folder: Path, step: int, keep: int, best: int | None = None) -> None:
    """Delete all but the newest `keep` checkpoints up to `step` and that of step `best`.

    Those beyond `step` are damaged, or of a course that was left by going back: they would pass for newer ones.
    Call after a save that succeeded.
    """
    found = list_checkpoints(folder)
    upto = [checkpoint for checkpoint in found if checkpoint <= step_folder(folder, step)]
    kept = {*upto[:keep], step_folder(folder, best or 0)}
    for checkpoint in found:
        if checkpoint not in kept:
            _discard(checkpoint)


def _discard(checkpoint: Path) -> None:
    doomed = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.old.tmp")
    os.replace(checkpoint, doomed)  # a half-deleted checkpoint must not look like one
    shutil.rmtree(doomed, ignore_errors=True)


def link_best(run: Path, step: int) -> None:
    """Make `run/best` name the checkpoint of a step, if it is there."""
    target = step_folder(Path("checkpoints"), step)
    if (run / target).exists():
        temporary = run / f".best.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, run / "best")
