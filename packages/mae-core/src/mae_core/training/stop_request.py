"""Ask a run to stop: it saves first, then exits."""

import os
import signal
from types import FrameType, TracebackType

_EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class StopRequest:
    """Notes SIGTERM and Ctrl-C while it is entered; a second Ctrl-C quits at once.

    Attributes:
        exit_code: None until a signal came, then what the process is to exit with.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.exit_code == _EXIT_CODES[signal.SIGINT]:
            os._exit(self.exit_code)
        self.exit_code = _EXIT_CODES[signal.Signals(number)]

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._note) for number in _EXIT_CODES}
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
