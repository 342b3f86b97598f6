"""One function over all images of a source, in several processes."""

import io
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, BinaryIO, Generic, TypeVar

from mae_data.errors import DataError, InputError, StoreError
from mae_data.images.geotiff import is_scene
from mae_data.sources.source import Source

Result = TypeVar("Result")
Task = TypeVar("Task")
CHUNK = 32


def map_images(
    function: Callable[[BinaryIO | bytes], Result], images: Source, workers: int, places: Sequence[int] | None = None
) -> Iterator[Result | DataError]:
    """Yield function(image file), or the DataError it raised, for each image in order.

    A scene is given by its name, since it is too large to be held.

    Args:
        function: a function at the top of a module.
        images: the source.
        workers: number of processes; with 1 the work is done in this one.
        places: the images, by their places in the source; None: all.
    """
    return map_tasks(_ImageTask(function, images), range(len(images)) if places is None else places, workers, CHUNK)


def map_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, chunk: int = 1
) -> Iterator[Result]:
    """Yield function(task) for each task in order; the first error ends it.

    Args:
        function: it goes to each worker once, not with each task: it may hold much.
        tasks: its arguments.
        workers: number of processes; with 1 the work is done in this one.
        chunk: tasks that a worker gets at once.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is not a number of processes; use at least 1")
    if workers == 1 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(function,))
    try:
        yield from pool.map(_run_task, tasks, chunksize=chunk)
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed (out of memory?); use fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


class _ImageTask(Generic[Result]):
    """The function for one entry, with its DataError as a result: one bad image does not end the rest."""

    def __init__(self, function: Callable[[BinaryIO | bytes], Result], images: Source) -> None:
        self._function = function
        self._images = images

    def __call__(self, index: int) -> Result | DataError:
        try:
            name = self._images.file(index)
            if name is not None and is_scene(name):
                return self._function(name)
            return self._function(io.BytesIO(self._images.read(index)))
        except StoreError:
            raise
        except DataError as error:
            return error


_worker_task: Callable[[Any], Any] | None = None


def _start_worker(task: Callable[[Any], Any]) -> None:
    global _worker_task
    _worker_task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business


def _run_task(task: Any) -> Any:
    assert _worker_task is not None
    return _worker_task(task)
