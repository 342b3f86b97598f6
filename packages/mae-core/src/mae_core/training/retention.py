"""The checkpoints of one run: when one is written, which stay, and which is called the best."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from mae_core.files import discard_folder
from mae_core.training.checkpoint import save_checkpoint, update_state
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import list_checkpoints, step_folder


@dataclass
class Checkpoints:
    """Writes a run's checkpoints and deletes what is older than it keeps.

    Args:
        folder: None on ranks that write nothing.
        keep: checkpoints to keep, beside the best one.

    Attributes:
        saved: the step whose checkpoint is in the folder.
    """

    folder: RunFolder | None
    keep: int
    saved: int | None = None

    def adopt(self, checkpoint: Path, step: int, best: int | None) -> bool:
        """Take note of where a run goes on from; tell whether the folder holds the best checkpoint, too."""
        here = self.folder is not None and checkpoint.resolve().parent == self.folder.checkpoints.resolve()
        self.saved = step if here else None
        return here and best is not None and step_folder(checkpoint.resolve().parent, best).exists()

    def save(
        self,
        step: int,
        model: nn.Layer,
        optimizer: paddle.optimizer.Optimizer,
        state: Mapping[str, Any],
        ema: Mapping[str, np.ndarray] | None,
        best: int | None,
    ) -> None:
        """Write a step's checkpoint unless it is there, then delete what is older than is kept."""
        if self.folder and self.saved != step:
            save_checkpoint(self.folder.checkpoints, step, model, optimizer, state, ema)
            self.saved = step
            self._tidy(step, best)

    def note_score(self, step: int, validation: Mapping[str, Any], best: int | None) -> None:
        """Add to a step's checkpoint what its validation found; keep and link the best."""
        if self.folder:
            update_state(step_folder(self.folder.checkpoints, step), {"validation": dict(validation)})
            self._tidy(step, best)

    def _tidy(self, step: int, best: int | None) -> None:
        assert self.folder is not None
        if best:
            link_best(self.folder.path, best)
        prune(self.folder.checkpoints, step, self.keep, best)


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
            discard_folder(checkpoint)


def link_best(run: Path, step: int) -> None:
    """Make `run/best` name the checkpoint of a step, if it is there."""
    target = step_folder(Path("checkpoints"), step)
    if (run / target).exists():
        temporary = run / f".best.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, run / "best")
