"""Signals that end a process: at once outside the training loop; inside it, `stop_request.py` saves first."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import FrameType

GRACE_SECONDS = 5.0  # for files to be closed and workers to be ended
ABORT_SECONDS = 6.0


class Stop(Enum):
    """Why a process is asked to end; the value is its exit code. Of several ranks' wishes the first wins."""

    REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: try again
    TERMINATED = 143
    INTERRUPTED = 130

    @classmethod
    def counts(cls, asked: "Stop | None") -> list[float]:
        """Return a number per kind, to be added up over ranks."""
        return [float(asked is kind) for kind in cls]

    @classmethod
    def first(cls, counts: list[float]) -> "Stop | None":
        """Return what any rank was asked for; of several kinds the first."""
        return next((kind for kind, count in zip(cls, counts, strict=True) if count), None)


SIGNALS = {
    signal.SIGUSR1: Stop.REQUEUE,  # what batch systems send some time before the job's limit
    signal.SIGTERM: Stop.TERMINATED,
    signal.SIGHUP: Stop.TERMINATED,  # the terminal was closed
    signal.SIGINT: Stop.INTERRUPTED,
}


def heeded() -> list[signal.Signals]:
    """Return the signals that the caller of this process did not have ignored, as `nohup` does."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def leaving() -> Iterator[None]:
    """End the command on a signal, with the code of `Stop`; Ctrl-C stays a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {n: signal.signal(n, _leave) for n in heeded() if n is not signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) is _leave:
                signal.signal(number, handler)


def settle() -> None:
    """Ignore from now on what would change the exit code: `srun` ends the other tasks once the first has ended."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


_left = False


def _leave(number: int, frame: FrameType | None) -> None:
    """Unwind, so that half-written files are removed; where that takes long, or at a second signal, leave anyway."""
    global _left
    code = SIGNALS[signal.Signals(number)].value
    if _left:
        os._exit(code)
    _left = True
    timer = threading.Timer(GRACE_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()
    os.write(2, f"ended by {signal.Signals(number).name}\n".encode())
    sys.exit(code)


@contextmanager
def kept_over_import() -> Iterator[None]:
    """Keep the handler of SIGTERM over the import of Paddle, whose own prints a stack and may never return."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # one that comes meanwhile is heeded after
    try:
        yield
    finally:
        if (handler := signal.getsignal(signal.SIGTERM)) is not None:
            signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Sigaction(ctypes.Structure):
    """`struct sigaction` of glibc on Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _wait(number: int) -> None:
    time.sleep(ABORT_SECONDS)  # without the interpreter's lock, which the aborting thread may hold


def delay_abort() -> None:
    """Make an abort of compiled code wait a little, in which other threads may report the cause.

    Gloo aborts the process where the rank at the other end is lost.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        action = _Sigaction(handler=ctypes.cast(_wait, ctypes.c_void_p))
        libc.sigfillset(ctypes.byref(action, _Sigaction.mask.offset))
        libc.sigaction(int(signal.SIGABRT), ctypes.byref(action), None)
