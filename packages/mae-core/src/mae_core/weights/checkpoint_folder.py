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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mae_core.errors import CheckpointError
from mae_core.files import sha256
from mae_core.process import log
from mae_core.weights.checkpoint_state import EMA, MODEL, OPTIMIZER, STATE, State, decode_state
from mae_core.weights.formats.safetensors_file import read_safetensors
from mae_core.weights.sources import Weights, find_file, read_weights

# What a run needs to go on, beside its weights.
RESUMED = ("scaler", "meter", "bad_steps", "config", "world_size")
_WEIGHTS = (MODEL, EMA)
_ALL = (MODEL, OPTIMIZER, EMA)
_STEP = re.compile(r"step_([0-9]{8,12})")


def step_folder(folder: Path, step: int) -> Path:
    """Return where a step's checkpoint lies in a run's checkpoint folder."""
    return folder / f"step_{step:08d}"


def step_of(checkpoint: Path) -> int | None:
    """Return the step in a checkpoint folder's name; None where no run gives that name."""
    match = _STEP.fullmatch(checkpoint.name)
    step = int(match[1]) if match else None
    return step if step is not None and step_folder(checkpoint.parent, step) == checkpoint else None


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoint folders of a run, newest first."""
    ours = [path for path in folder.glob("step_*") if step_of(path) is not None and path.is_dir()]
    return sorted((path for path in ours if not path.is_symlink()), key=lambda path: step_of(path) or 0, reverse=True)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose state was read and whose files were verified, once: hand it on instead of its path.

    Args:
        folder: where it lies, or a link to it.
    """

    folder: Path
    state: State

    def averages(self) -> dict[str, np.ndarray] | None:
        """Read the averaged weights; None where it holds none."""
        return read_safetensors(self.folder / EMA)[0] if EMA in self.state.sha256 else None


def open_checkpoint(folder: Path, needed: Sequence[str] = (), files: Sequence[str] = _ALL) -> Checkpoint:
    """Read the state of one checkpoint and verify its files.

    Args:
        folder: of the checkpoint, or a link to it.
        needed: entries that the state must have; RESUMED to go on from it.
        files: which files are read later, and so verified now; the optimizer's is twice as large as the weights, and
            only resuming reads it.

    Raises:
        CheckpointError: it is incomplete, damaged, or of a newer schema.
    """
    try:
        state = decode_state(_require_file(folder / STATE).read_bytes(), needed)
        named = step_of(folder.resolve())
        if named not in (None, state.step):
            raise ValueError(f"{STATE} is of step {state.step}")
        for name in dict.fromkeys((*_WEIGHTS, *files)):
            _verify(folder / name, state.sha256.get(name), name in files)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is incomplete or damaged ({error})") from None
    return Checkpoint(folder, state)


def _verify(file: Path, checksum: str | None, read: bool) -> None:
    """Refuse a file that is missing, of which nobody knows what it should hold, or that, if it is read, holds else."""
    if checksum is None:
        if file.exists():
            raise ValueError(f"{file.name} has no checksum")
    elif _require_file(file) and read and sha256(file) != checksum:
        raise ValueError(f"{file.name}: checksum differs")


def _require_file(path: Path) -> Path:
    """Refuse what is no file: a pipe or a device could be read for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path.name} is not a file")
    return path


def newest_checkpoint(
    folder: Path,
    warn: Callable[[str], None],
    needed: Sequence[str] = (),
    files: Callable[[Path], Sequence[str]] = lambda checkpoint: _ALL,
) -> Checkpoint:
    """Open the newest checkpoint that verifies.

    Args:
        folder: holds `step_*`.
        warn: receives a line for each damaged one passed over.
        needed, files: see `open_checkpoint`.

    Raises:
        CheckpointError: there is none, or all are damaged (each reason is given).
    """
    reasons = []
    for path in list_checkpoints(folder):
        try:
            return open_checkpoint(path, needed, files(path))
        except CheckpointError as error:
            reasons.append(str(error))
            warn(f"{error}; trying the one before")
    raise CheckpointError("; ".join(reasons) or f"{folder} holds no checkpoint to resume from")


def find_weights(path: Path) -> Path:
    """Turn what a user names into a weight file, verified where a run wrote it; the suffix may be left out.

    Of a checkpoint with averaged weights these are taken, as validation scored them.
    """
    return _find(path)[0]


def open_weights(path: str | Path, source: str = "auto") -> Weights:
    """Open the weights that a user names, once: what is returned is handed on, not the path.

    Args:
        path: run folder, checkpoint folder, Hugging Face folder, or file with or without suffix.
        source: a name of `layouts.LAYOUTS`, or `auto`.

    Raises:
        CheckpointError: nothing there, damaged, refused or unknown.
    """
    file, checkpoint = _find(Path(path))
    weights = read_weights(file, source)
    if checkpoint is None:
        return weights
    return replace(weights, config=checkpoint.state.config, sha256=checkpoint.state.sha256.get(file.name, ""))


def _find(path: Path) -> tuple[Path, Checkpoint | None]:
    """Return the weight file, and the checkpoint that it is of where a run wrote it."""
    if (path / "checkpoints").is_dir():
        checkpoint = newest_checkpoint(path / "checkpoints", log.LOGGER.warning, files=_best_weights)
    elif (path / STATE).exists():
        checkpoint = open_checkpoint(path, files=_best_weights(path))
    else:
        file = find_file(path)
        of_a_run = file.name in _WEIGHTS and (file.parent / STATE).exists()
        return file, open_checkpoint(file.parent, files=[file.name]) if of_a_run else None
    return checkpoint.folder / _best_weights(checkpoint.folder)[0], checkpoint


def _best_weights(checkpoint: Path) -> list[str]:
    return [EMA if (checkpoint / EMA).is_file() else MODEL]
