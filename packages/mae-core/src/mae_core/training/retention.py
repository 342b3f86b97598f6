"""Which checkpoints of a run stay, and which is called the best."""

import os
from pathlib import Path

from mae_core.files import discard_folder
from mae_core.weights.checkpoint_folder import list_checkpoints, step_folder


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
