"""One computation at a time; a few requests wait, and all others are refused."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from threading import BoundedSemaphore, Event, Thread
from typing import Any

Around = Callable[[], AbstractContextManager[Any]]
Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Busy(Exception):
    """As many wait as may, or the server is stopped."""


class Queue:
    """Runs calls of many threads one after the other, in one thread of its own.

    Two at a time would take the same cores; and OpenMP keeps a pool of threads for each thread that calls it. The
    thread is no executor's: Python would wait for it without end before it exits.

    Args:
        places: calls that may run or wait.
        around: makes the context of a call.
    """

    def __init__(self, places: int, around: Around = nullcontext) -> None:
        self._around = around
        self._free, self._closed = BoundedSemaphore(places), Event()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return what a call returns.

        Raises:
            Busy: there is no free place, or the queue was closed.
        """
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            future: Future[Any] = Future()
            self._calls.put((future, call, args))
            if self._closed.is_set():  # perhaps after the thread looked for the last time
                future.cancel()
            return future.result()
        except CancelledError:
            raise Busy from None
        finally:
            self._free.release()

    def _work(self) -> None:
        while item := self._calls.get():
            future, call, args = item
            if self._closed.is_set():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with self._around():
                    future.set_result(call(*args))
            except BaseException as error:  # the caller raises it
                future.set_exception(error)

    def close(self, seconds: float = 0) -> None:
        """Leave what waits undone; wait some seconds for what runs."""
        self._closed.set()
        self._calls.put(None)
        self._thread.join(seconds)
