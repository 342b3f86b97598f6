"""The folder of one run: checked before the first step, locked against a second run."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from mae_core.errors import UserError
from mae_core.process.log import LOGGER


class RunFolder:
    """Output folder `path` with `checkpoints/`, `log.jsonl` and `config.yaml`.

    Raises:
        UserError: the folder cannot be written, or another run holds it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / "log.jsonl"
        self.config = self.path / "config.yaml"
        self._is_new = not self.path.exists()
        self._lock = self._open_lock()

    def _open_lock(self) -> int:
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise UserError(f"output folder {self.path} cannot be written ({error.strerror}); choose another") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise UserError(
                f"output folder {self.path} is in use by another run; choose another with -output"
            ) from None
        return lock

    def renew(self) -> None:
        """Make the folder anew where it, or the checkpoints in it, went during the run, with a warning.

        Raises:
            UserError: it cannot be made, or another run holds it by now.
        """
        if self.checkpoints.is_dir() and self._holds_lock():
            return
        LOGGER.warning(
            f"{self.checkpoints} was removed or moved during the run: what this run saved is not there any more;"
            " it goes on in a new folder"
        )
        os.close(self._lock)
        self._lock = self._open_lock()

    def _holds_lock(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path / ".lock"), os.fstat(self._lock))
        except OSError:
            return False

    def close(self) -> None:
        """Release the lock; once more does nothing. A folder of a run that never began goes."""
        if self._lock >= 0:
            if self._is_new and not self.config.exists():
                with suppress(OSError):  # something else lies in it
                    self.checkpoints.rmdir()
                    (self.path / ".lock").unlink()
                    self.path.rmdir()
            os.close(self._lock)
            self._lock = -1
