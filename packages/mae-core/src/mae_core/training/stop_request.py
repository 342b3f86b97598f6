"""Ask a run to stop: it saves first, then exits."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

from mae_core.process.signals import SIGNALS, Stop, heeded


class StopRequest:
    """Notes signals while it is entered; a second Ctrl-C quits at once.

    Attributes:
        asked: None until a signal came, then why the run is to stop.
    """

    def __init__(self) -> None:
        self.asked: Stop | None = None

    def __bool__(self) -> bool:
        return self.asked is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        kind = SIGNALS[signal.Signals(number)]
        if kind is Stop.INTERRUPTED and self.asked is kind:
            os._exit(kind.value)
        if self.asked is Stop.REQUEUE and kind is Stop.TERMINATED:
            return  # the batch system grows impatient; it still wants the job back
        self.asked = kind

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._note) for number in heeded()}
        reading, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        threading.Thread(target=_quit_at_second_interrupt, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _quit_at_second_interrupt(reading: int) -> None:
    """Wait for signals where the main thread cannot: it may be in compiled code that waits for another rank."""
    interrupts = 0
    with suppress(OSError), os.fdopen(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            interrupts += number[0] == signal.SIGINT
            if interrupts == 2:
                os._exit(Stop.INTERRUPTED.value)
