"""The folder of one run: checked before the first step, locked against a second run."""

import fcntl
import os
from pathlib import Path

from mae_core.errors import UserError


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

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)
