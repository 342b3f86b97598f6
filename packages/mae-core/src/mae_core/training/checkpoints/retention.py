"""The checkpoints of one run: when one is written, which stay, and which is called the best."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from mae_core.errors import CheckpointError
from mae_core.files import discard_folder
from mae_core.process import log
from mae_core.training.checkpoints.checkpoint import Snapshot, take_snapshot, update_state, write_snapshot
from mae_core.training.checkpoints.writer import CheckpointWriter
from mae_core.training.run_folder import RunFolder
from mae_core.training.sharding import ShardedOptimizer, collect
from mae_core.weights.checkpoint_folder import list_checkpoints, step_folder, step_of
from mae_core.weights.checkpoint_state import State, Validated


@dataclass
class Checkpoints:
    """Writes a run's checkpoints behind its steps and deletes what is older than it keeps.

    Args:
        folder: None on ranks that write nothing.
        keep: checkpoints to keep, beside the best one.

    Attributes:
        saved: the step whose checkpoint is in the folder, or on its way there.
    """

    folder: RunFolder | None
    keep: int
    saved: int | None = None
    _writer: CheckpointWriter = field(default_factory=CheckpointWriter)

    def adopt(self, checkpoint: Path, step: int, best: int | None) -> bool:
        """Take note of where a run goes on from; return whether the folder holds the best checkpoint, too."""
        here = self.folder is not None and checkpoint.resolve().parent == self.folder.checkpoints.resolve()
        self.saved = step if here else None
        return here and best is not None and step_folder(checkpoint.resolve().parent, best).exists()

    def save(
        self,
        model: nn.Layer,
        optimizer: paddle.optimizer.Optimizer | ShardedOptimizer,
        state: State,
        averages: Callable[[], Mapping[str, np.ndarray]] | None,
        best: int | None,
    ) -> None:
        """Copy a step's state, unless its checkpoint is there, and begin to write it; the caller goes on meanwhile.

        All ranks call it. What is older than is kept is deleted once it is written.

        Args:
            state: see `take_snapshot`.
            averages: copies the averaged weights.
            best: the step of the best checkpoint so far.

        Raises:
            CheckpointError: the save before failed.
        """
        wanted = self.folder is not None and self.saved != state.step
        if self.folder and wanted:
            self.folder.renew()
            self._writer.wait()  # before the copy: there is never more than one in memory
        collect(optimizer, wanted)
        if wanted:
            snapshot = take_snapshot(model, optimizer, state, averages() if averages else None)
            self._writer.start(partial(self._write, snapshot, best))
            self.saved = state.step

    def _write(self, snapshot: Snapshot, best: int | None) -> None:
        assert self.folder is not None
        write_snapshot(self.folder.checkpoints, snapshot)
        self._tidy(snapshot.state.step, best)

    def check(self) -> None:
        """Raise CheckpointError where the last save failed; one that goes on is left alone."""
        self._writer.check()

    def wait(self) -> None:
        """Wait until the last save is in the folder.

        Raises:
            CheckpointError: it failed.
        """
        self._writer.wait()

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Leave no save unfinished behind, however the run ends; its own error comes before that of a save."""
        try:
            yield
        except BaseException:
            try:
                self.wait()
            except CheckpointError as error:
                log.LOGGER.error(str(error))
            raise
        self.wait()

    def note_score(self, step: int, validation: Validated, best: int | None) -> None:
        """Add to a step's checkpoint, once it is written, what its validation found; keep and link the best."""
        if self.folder:
            self.wait()
            update_state(step_folder(self.folder.checkpoints, step), {"validation": asdict(validation)})
            self._tidy(step, best)

    def _tidy(self, step: int, best: int | None) -> None:
        assert self.folder is not None
        try:
            if best:
                link_best(self.folder.path, best)
            prune(self.folder.checkpoints, step, self.keep, best)
        except OSError as error:  # the checkpoint is safe; a full disk may refuse even a link
            log.LOGGER.warning(f"{self.folder.checkpoints} cannot be tidied ({error.strerror}); training goes on")


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
