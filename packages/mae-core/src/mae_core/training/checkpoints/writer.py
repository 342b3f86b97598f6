"""Checkpoints are written while the run goes on: it waits for a copy in memory, not for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class CheckpointWriter:
    """One save at a time, in a thread.

    A thread, since writing, checksums and fsync leave the interpreter to the run; a forked process would share
    memory instead of copying it, but Paddle's threads and devices do not survive a fork. A process that ends by
    itself finishes the save first; one that is killed leaves the folder's earlier checkpoints.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._save: Future[object] | None = None

    @property
    def busy(self) -> bool:
        """Return whether a save goes on."""
        return self._save is not None and not self._save.done()

    def start(self, save: Callable[[], object]) -> None:
        """Begin a save, after the one before is finished.

        Raises:
            CheckpointError: what the save before raised.
        """
        self.wait()
        self._save = self._pool.submit(save)

    def check(self) -> None:
        """Raise what a finished save raised; a save that goes on is left alone."""
        if not self.busy:
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is being saved; signals are noted meanwhile.

        Raises:
            CheckpointError: what the save raised.
        """
        if self._save:
            try:
                self._save.result()
            finally:
                if self._save.done():
                    self._save = None
