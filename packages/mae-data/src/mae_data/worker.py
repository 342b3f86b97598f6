"""Loader worker processes: how they start, how their death is noticed, how they end. Needs no Paddle."""

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess

POLL_SECONDS = 1.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Signals that ask the run to stop or to save: they are the main process's business, even where a
# batch system sends them to every process of a job.
MAIN_PROCESS_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
EXIT_HINTS = {
    "SIGKILL": "the system may be out of memory; use fewer workers",
    "SIGBUS": "/dev/shm may be full; enlarge it (in Docker with --shm-size) or use fewer workers",
}


@contextmanager
def shielded_start() -> Iterator[None]:
    """Shield worker processes that are started in the block from what is the main process's.

    Signals that ask the run to stop stay blocked in them for good: the mask is inherited, so that there
    is no moment in which one could strike. What exists now is frozen and never collected in them:
    garbage of an earlier loader would join threads and end processes that are not there.
    """
    gc.freeze()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, MAIN_PROCESS_SIGNALS)
    try:
        yield
    finally:
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def detach_worker(parent_pid: int) -> None:
    """Make the calling worker process die with its parent, and keep the terminal's signals from it.

    Args:
        parent_pid: Process that started this one.
    """
    os.setpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


class WorkerWatch(threading.Thread):
    """A thread that notices dead workers, and a main process that waits too long for a batch.

    Args:
        workers: The processes to watch.
        timeout: Longest wait for a batch in seconds; 0 waits for ever.
        interrupt: Called once when something is wrong, to wake the waiting main process.

    Attributes:
        waiting_since: Set by the main process to `time.monotonic()` while it waits, else None.
    """

    def __init__(self, workers: Sequence[BaseProcess], timeout: float, interrupt: Callable[[], None]) -> None:
        super().__init__(name="mae-data worker watch", daemon=True)
        self.waiting_since: float | None = None
        self._workers = workers
        self._timeout = timeout
        self._interrupt = interrupt
        self._closing = threading.Event()

    def run(self) -> None:
        """Watch until something is wrong, all workers have ended, or `close` is called."""
        while not self._closing.is_set():
            running = [worker.sentinel for worker in self._workers if worker.exitcode is None]
            if self.fault() and not self._closing.is_set():
                self._interrupt()
                return
            if not running:
                return
            connection.wait(running, POLL_SECONDS)

    def close(self) -> None:
        """Stop watching: from now on workers may end."""
        self._closing.set()

    def fault(self) -> str:
        """Say what is wrong, or return an empty string."""
        for number, worker in enumerate(self._workers):
            if worker.exitcode:
                return f"loader worker {number} (pid {worker.pid}) {_describe_exit(worker.exitcode)}"
        since = self.waiting_since
        if self._timeout and since is not None and time.monotonic() - since > self._timeout:
            return (
                f"the loader's {len(self._workers)} workers gave no batch for {self._timeout:g} seconds; "
                "check the storage that holds the images, or raise the timeout"
            )
        return ""

    def dead_worker(self) -> bool:
        """Tell whether a worker has died, or is dying right now."""
        running = [worker.sentinel for worker in self._workers if worker.exitcode is None]
        if len(running) == len(self._workers):
            connection.wait(running, POLL_SECONDS)
        return any(worker.exitcode for worker in self._workers)


def end_workers(workers: Sequence[BaseProcess]) -> None:
    """End workers at once; they hold nothing that has to be saved."""
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def _describe_exit(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (f" ({EXIT_HINTS[name]})" if name in EXIT_HINTS else "")
