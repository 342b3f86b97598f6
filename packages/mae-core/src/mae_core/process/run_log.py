"""`log.jsonl`: a JSON record per line, for programs. Neither a damaged log nor a full disk ends a run."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mae_core.files import make_file, temporary_path
from mae_core.process import stdio
from mae_core.process.log import LOGGER

Record = dict[str, Any]
LOWER_IS_BETTER = ("val_loss", "mae", "rmse")  # of the figures in records of validations; of all others the highest


def spoken_epoch(epoch: float) -> str:
    """Return an epoch, or a number of epochs, as it is said everywhere: with two digits at most."""
    return f"{round(epoch, 2):g}"


def read_log(path: Path, kind: str | None = None) -> list[Record]:
    """Read the records of a run's `log.jsonl`, of one kind where it is named: "train" or "validation".

    A missing file has none, and a damaged line is passed over.
    """
    records = _records(path.read_bytes())[0] if path.exists() else []
    return [record for record in records if kind in (None, record_kind(record))]


def record_kind(record: Record) -> str:
    """Return a record's kind; logs of version 0.1 do not hold it."""
    return str(record.get("kind") or ("train" if "loss" in record else "validation"))


def _records(content: bytes) -> tuple[list[Record], int]:
    """Return the records and the number of damaged lines; a last line that a crash cut off is none."""
    found = [_record(line) for line in content.split(b"\n")[:-1]]
    records = [record for record in found if record is not None]
    return records, len(found) - len(records)


def _record(line: bytes) -> Record | None:
    """Return what a line holds: an object with its step."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of 5000 digits, nested without end
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None


class RunLog:
    """Append-only `log.jsonl`; of the records that are there only those are kept for which `keep` holds.

    A log that is damaged is moved to `log.jsonl.damaged-1` (or -2, ...) and goes on with its whole records. Records
    that the disk refuses are held back and written as soon as it takes them. A warning names each once.
    """

    def __init__(self, path: Path, keep: Callable[[Record], bool]) -> None:
        self._path = path
        self._file: int | None = None
        self._failure = ""
        self._pending = [json.dumps(record) for record in self._take_over() if keep(record)]
        self._flush()

    def _take_over(self) -> list[Record]:
        """Return the records that are there, and move what is damaged out of the way."""
        try:
            if not os.path.lexists(self._path):
                return []
            if not self._path.is_file():
                self._set_aside("is not a file")
                return []
            records, damaged = _records(self._path.read_bytes())
            if damaged:
                self._set_aside(f"has {damaged} damaged lines; its {len(records)} whole records are kept")
            return records
        except OSError as error:
            self._warn(error)
            return []

    def _set_aside(self, why: str) -> None:
        number = 1
        while os.path.lexists(aside := self._path.with_name(f"{self._path.name}.damaged-{number}")):
            number += 1
        os.rename(self._path, aside)
        LOGGER.warning(f"{self._path} {why}; it was moved to {aside.name}, and the log goes on in a new one")

    def write(self, record: Record) -> None:
        """Write one record, with a note where lines for people are lost."""
        if note := stdio.take_note():
            record = {**record, "note": note}
        self._pending.append(json.dumps(record))
        self._flush()

    def _flush(self) -> None:
        try:
            lines = "".join(line + "\n" for line in self._pending).encode()
            if self._file is None:
                self._file = _begin(self._path, lines)
            else:
                self._follow(self._file)
                _append(self._file, lines)
            self._pending.clear()
            self._failure = ""
        except OSError as error:
            self._warn(error)

    def _follow(self, file: int) -> None:
        """Go on in the file of that name where another took its place: an editor's, or none since the folder went."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(self._path), os.fstat(file)):
                return
        new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        LOGGER.warning(f"{self._path} was moved, replaced or removed during the run; the log goes on in a new one")
        os.dup2(new, file)
        os.close(new)

    def _warn(self, error: OSError) -> None:
        if not self._failure:
            LOGGER.warning(
                f"{self._path} cannot be written ({error.strerror}); training goes on, and its records are held back"
            )
        self._failure = str(error.strerror)

    def close(self) -> None:
        """Write what was held back, close the file, and warn of what the disk never took."""
        if self._pending:
            self._flush()
        if self._failure:
            LOGGER.warning(f"{len(self._pending)} records are not in {self._path} ({self._failure})")
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _begin(path: Path, lines: bytes) -> int:
    """Replace a file by these lines, whole or not at all; return where to append more."""
    temporary = temporary_path(path)
    try:
        make_file(temporary)
        temporary.write_bytes(lines)
        file = os.open(temporary, os.O_WRONLY | os.O_APPEND)
        os.replace(temporary, path)
        return file
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _append(file: int, lines: bytes) -> None:
    """Append all of it or nothing: a disk that fills up takes a part."""
    end = os.fstat(file).st_size
    try:
        while lines:
            lines = lines[os.write(file, lines) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, end)
        raise
