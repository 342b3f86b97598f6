"""What a run says: lines for people, JSON lines for programs, a bar on a terminal."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOGGER = logging.getLogger("mae")
_stream = "stdout"


def use_stderr() -> None:
    """Send lines to standard error from now on: standard output is for data."""
    global _stream
    _stream = "stderr"


def setup(main: bool = True) -> logging.Logger:
    """Send lines to standard output; ranks other than the main one speak only of warnings."""
    handler = _BarSafeHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.getLogger().handlers[:] = [handler]  # the root: warnings of the data path are shown too
    LOGGER.setLevel(logging.INFO if main else logging.WARNING)
    return LOGGER


def say(lines: Iterable[str]) -> None:
    """Log lines, of the main rank."""
    for line in lines:
        LOGGER.info(line)


class _BarSafeHandler(logging.Handler):
    """Prints above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = getattr(sys, _stream)
        tqdm.write(self.format(record), file=stream)
        stream.flush()


class JsonLines:
    """Append-only `log.jsonl`; of the records that are there only those are kept for which `keep` holds."""

    def __init__(self, path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
        kept = [line for line in _read_lines(path) if keep(json.loads(line))]
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text("".join(line + "\n" for line in kept))
        os.replace(temporary, path)
        self._file = path.open("a", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        """Write one record."""
        self._file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_lines(path: Path) -> list[str]:
    """Return the whole lines of a log; a line cut off by a crash is dropped."""
    text = path.read_text() if path.exists() else ""
    return [line for line in text.split("\n")[:-1] if line.startswith("{") and line.endswith("}")]


def read_log(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Read the records of a run's `log.jsonl`, of one kind where it is named: "train" or "validation"."""
    records = [json.loads(line) for line in _read_lines(path)]
    return [record for record in records if kind in (None, kind_of(record))]


def kind_of(record: dict[str, Any]) -> str:
    """Return a record's kind; logs of version 0.1 do not say it."""
    return str(record.get("kind") or ("train" if "loss" in record else "validation"))


def progress_bar(total: int, start: int) -> tqdm:
    """Make a bar over optimizer steps; off where standard error is not a terminal."""
    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty())
