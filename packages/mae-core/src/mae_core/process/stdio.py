"""Standard output and error, which may be closed or full: a run goes on without them and notes once what is lost.

A reader that has seen enough (`| head`) or a full disk makes every later line fail.
"""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

_NAMES = {1: "standard output", 2: "standard error"}
_lost: dict[int, str] = {}  # file descriptor -> why
_unlogged: list[str] = []  # notes that the run's log does not hold yet


def open_streams() -> None:
    """Open streams that the caller closed, and let them print characters that their encoding lacks."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # the next file that is opened would take its number, and what is printed would end up in that
            os.open(os.devnull, os.O_RDWR)
            if number:
                _note(number, "closed")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (for the rest of the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line on standard output, or another stream; where that fails, go on without."""
    stream = stream or sys.stdout
    try:
        print(f"{line}\n", end="", file=stream, flush=True)  # in one write: a notebook shows each by itself
    except (OSError, ValueError) as error:
        lose(stream, error)


def red(line: str, stream: TextIO, env: Mapping[str, str]) -> str:
    """Return a line in red where the stream is a terminal that takes it and NO_COLOR is not set (no-color.org)."""
    takes_it = stream.isatty() and env.get("TERM", "dumb") != "dumb" and not env.get("NO_COLOR")
    return f"\x1b[31m{line}\x1b[0m" if takes_it else line


def lose(stream: TextIO, error: Exception) -> None:
    """Send a stream that failed to nowhere, so that it fails no more, and note why."""
    number = 2 if stream is sys.stderr else 1
    with suppress(OSError, ValueError):
        if stream.fileno() == number:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            stream.flush()
    _note(number, getattr(error, "strerror", None) or str(error))


def _note(number: int, why: str) -> None:
    if number not in _lost:
        _lost[number] = why
        _unlogged.append(f"{_NAMES[number]} cannot be written ({why}); what is printed there is lost")


def take_note() -> str:
    """Return what was lost since the last call, for the run's log; empty where nothing was."""
    note = "; ".join(_unlogged)
    _unlogged.clear()
    return note


def why_lost(number: int = 1) -> str | None:
    """Return why a stream was lost; None while it works."""
    return _lost.get(number)


def write_to_launcher(text: str, lost: int) -> None:
    """Write on the console of Paddle's launcher, which shows rank 0's log no more once it missed another rank.

    Where the console is a file, which the launcher would write over, the log of the lost rank is shown at the end.
    """
    if logs := os.environ.get("PADDLE_LOG_DIR"):
        console = f"/proc/{os.getppid()}/fd/2"
        with suppress(OSError):
            place = os.path.join(logs, f"workerlog.{lost}") if os.path.isfile(console) else console
            descriptor = os.open(place, os.O_WRONLY | os.O_APPEND)
            os.write(descriptor, text.encode())
            os.close(descriptor)
