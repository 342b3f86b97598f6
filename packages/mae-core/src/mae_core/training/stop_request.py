"""Ask a run to stop: it saves first, then exits."""

import os
import signal
from enum import Enum
from types import FrameType, TracebackType


class Stop(Enum):
    """Why a run is asked to stop; the value is the code that its process exits with."""

    TERMINATED = 143
    INTERRUPTED = 130


_SIGNALS = {signal.SIGTERM: Stop.TERMINATED, signal.SIGINT: Stop.INTERRUPTED}


class StopRequest:
    """Notes SIGTERM and Ctrl-C while it is entered; a second Ctrl-C quits at once.

    Attributes:
        asked: None until a signal came, then why the run is to stop.
    """

    def __init__(self) -> None:
        self.asked: Stop | None = None

    def __bool__(self) -> bool:
        return self.asked is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked is Stop.INTERRUPTED:
            os._exit(self.asked.value)
        self.asked = _SIGNALS[signal.Signals(number)]

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
