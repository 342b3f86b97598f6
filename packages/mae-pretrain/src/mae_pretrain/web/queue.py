"""One computation at a time, a few that wait, and a word to all others."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import BoundedSemaphore
from typing import Any

Around = Callable[[], AbstractContextManager[Any]]


class Busy(Exception):
    """As many wait as may."""


class Queue:
    """Runs calls of many threads one after the other, in one thread of its own.

    Two at a time would take the same cores; and OpenMP keeps a pool of threads for each thread that calls it.

    Args:
        places: calls that may run or wait.
        around: makes the context of a call.
    """

    def __init__(self, places: int, around: Around = nullcontext) -> None:
        self._around = around
        self._free = BoundedSemaphore(places)
        self._thread = ThreadPoolExecutor(max_workers=1)

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return what a call returns.

        Raises:
            Busy: there is no free place.
        """
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            return self._thread.submit(self._call, call, *args).result()
        finally:
            self._free.release()

    def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        with self._around():
            return call(*args)

    def close(self) -> None:
        """Leave what waits undone."""
        self._thread.shutdown(wait=False, cancel_futures=True)
