"""One function over all images of a source, in several processes."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, BinaryIO, Generic, TypeVar

from mae_data.errors import DataError, InputError
from mae_data.sources.source import Source

Result = TypeVar("Result")
CHUNK = 32


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_images(function: Callable[[BinaryIO], Result], images: Source, workers: int) -> Iterator[Result | DataError]:
    """Yield function(image file), or the DataError it raised, for each image in order.

    Args:
        function: A function at the top of a module.
        images: The source.
        workers: Number of processes; with 1 the work is done in this one.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is not a number of processes; use at least 1")
    task = _Task(function, images)
    if workers == 1:
        yield from map(task, range(len(images)))
        return
    # The task goes to each worker once, not with each image: it holds the whole source.
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(task,))
    try:
        yield from pool.map(_run_task, range(len(images)), chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed (out of memory?); use fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


class _Task(Generic[Result]):
    """The function for one entry, with its DataError as a result: one bad image does not end the rest."""

    def __init__(self, function: Callable[[BinaryIO], Result], images: Source) -> None:
        self._function = function
        self._images = images

    def __call__(self, index: int) -> Result | DataError:
        try:
            return self._function(io.BytesIO(self._images.read(index)))
        except DataError as error:
            return error


_worker_task: Callable[[int], Any] | None = None


def _start_worker(task: Callable[[int], Any]) -> None:
    global _worker_task
    _worker_task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business


def _run_task(index: int) -> Any:
    assert _worker_task is not None
    return _worker_task(index)
