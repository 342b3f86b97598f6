"""Which checkpoints of a run stay, and which is called the best."""

import os
from pathlib import Path

from mae_core import log
from mae_core.files import discard_folder
from mae_core.weights.checkpoint_folder import list_checkpoints, step_folder, step_of


def prune(folder: Path, step: int, keep: int, best: int | None = None) -> None:
    """Delete all but the newest `keep` checkpoints up to `step` and that of step `best`.

    Those beyond `step` are damaged, or of a course that was left by going back: they would pass for newer ones.
    Call after a save that succeeded. One that cannot be deleted is named and left.
    """
    found = list_checkpoints(folder)
    upto = [checkpoint for checkpoint in found if (step_of(checkpoint) or 0) <= step]
    kept = {*upto[:keep], step_folder(folder, best or 0)}
    for checkpoint in found:
        if checkpoint not in kept:
            try:
                discard_folder(checkpoint)
            except OSError as error:
                log.LOGGER.warning(f"{checkpoint} could not be deleted ({error.strerror}); it is left")


def link_best(run: Path, step: int) -> None:
    """Make `run/best` name the checkpoint of a step, if it is there; what is no link of ours is named and left."""
    target, link = step_folder(Path("checkpoints"), step), run / "best"
    if not (run / target).exists():
        return
    if link.exists() and not link.is_symlink():
        log.LOGGER.warning(f"{link} is not a link, so it is left; the best checkpoint is {run / target}")
        return
    temporary = run / f".best.{os.getpid()}.tmp"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, link)
    except OSError as error:
        log.LOGGER.warning(f"{link} could not be written ({error.strerror}); the best checkpoint is {run / target}")
