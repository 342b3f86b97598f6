"""The loader: batches of uint8 images as Paddle tensors, from this process or from workers."""

import atexit
import functools
import os
import queue
import sys
import time
import traceback

# Paddle 2.6 brings its own zlib; loaded after it, Python's would crash at its first use.
import zlib  # noqa: F401
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import paddle
from paddle.base import core

from mae_data.batch import Batch
from mae_data.dataset import Key, Sample
from mae_data.errors import DataError
from mae_data.worker import WorkerWatch, detach_worker, end_workers, shielded_start

Arrays = list[npt.NDArray[Any]]

# Handed over by descriptor, shared memory goes away with its processes; by name, as is Paddle's default,
# it stays in /dev/shm when a run is killed. Paddle 2 knows names only.
DESCRIPTOR_FLAG = "FLAGS_dataloader_use_file_descriptor"
GRACE_SECONDS = 1


class Dataset(Protocol):
    """What the loader needs of a dataset."""

    def __getitem__(self, key: Key) -> Sample:
        """Return (image uint8 [H, W, C], label, index)."""
        ...


class BatchSampler(Protocol):
    """What the loader needs of a batch sampler."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the keys of one batch after the other."""
        ...

    def __len__(self) -> int: ...


def make_loader(
    dataset: Dataset,
    batch_sampler: BatchSampler,
    *,
    num_workers: int = 0,
    prefetch: int = 2,
    timeout: float = 0,
) -> "BatchLoader":
    """Make a loader over (images uint8 [N, H, W, C], labels int64 [N], indices int64 [N]).

    Batches come in the sampler's order, whatever the number of workers. Iterate in the main thread:
    workers end with the thread that started them.

    Args:
        dataset: Gives (image, label, index) for a key of the sampler.
        batch_sampler: Yields a list of keys per batch.
        num_workers: Processes that read ahead (on Linux); 0 reads in this process, when a batch is asked for.
        prefetch: Batches that each worker reads ahead.
        timeout: Longest wait for a batch of the workers in seconds; 0 waits for ever.

    Raises:
        DataError: While iterating: an image cannot be read, or a worker was killed or gave no batch in
            time; the message names it.
    """
    if num_workers < 0 or prefetch < 1 or timeout < 0:
        raise ValueError(
            f"num_workers={num_workers}, prefetch={prefetch}, timeout={timeout}; "
            "use at least 0 workers, 1 batch and 0 seconds"
        )
    return BatchLoader(dataset, batch_sampler, num_workers, prefetch, timeout)


class BatchLoader:
    """An iterable over batches; see `make_loader`. Each iteration starts the sampler anew."""

    def __init__(
        self, dataset: Dataset, batch_sampler: BatchSampler, num_workers: int, prefetch: int, timeout: float
    ) -> None:
        self._fetch = _Fetch(dataset)
        self._batch_sampler = batch_sampler
        # Elsewhere Paddle has no worker processes.
        self._num_workers = num_workers if sys.platform == "linux" else 0
        self._prefetch = prefetch
        self._timeout = timeout

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        return self._from_workers() if self._num_workers else self._from_here()

    def _from_here(self) -> Iterator[Batch]:
        # Paddle's loader would read in a thread here, which competes with the training for this process's
        # cores and the interpreter, and hangs when a read fails: a plain loop was never slower.
        for keys in self._batch_sampler:
            images, labels, indices = self._fetch.arrays(keys)
            yield Batch(paddle.to_tensor(images), paddle.to_tensor(labels), paddle.to_tensor(indices))

    def _from_workers(self) -> Iterator[Batch]:
        batches = self._start_workers()
        watch = WorkerWatch(batches._workers, self._timeout, batches._exit_thread_unexpectedly)
        stop = functools.partial(_stop, batches, watch)
        # SIGTERM does not reach workers, and it is how multiprocessing would end them when the program ends.
        atexit.register(stop)
        try:
            batches._data_queue.get = functools.partial(_get_or_empty, batches._data_queue.get, watch)
            watch.start()
            while (batch := _next_batch(batches, watch)) is not None:
                yield batch
        finally:
            atexit.unregister(stop)
            stop()

    def _start_workers(self) -> Any:
        if DESCRIPTOR_FLAG in core.globals():
            paddle.set_flags({DESCRIPTOR_FLAG: True})
        loader = paddle.io.DataLoader(
            self._fetch,
            batch_sampler=_AsOneItem(self._batch_sampler),
            collate_fn=_only_item,
            num_workers=self._num_workers,
            prefetch_factor=self._prefetch,
            worker_init_fn=functools.partial(_start_worker, os.getpid()),
        )
        with shielded_start():
            batches = iter(loader)
        # Without this, a worker's death raises SystemError wherever the main process happens to be.
        core._erase_process_pids(id(batches))
        return batches


class _Fetch:
    """Reads whole batches, so that an error of any sample travels to the main process as data.

    Paddle would replace an exception in a worker by "Blocking queue is killed".
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._prepare = getattr(dataset, "fetch", None)

    def arrays(self, keys: Iterable[Key]) -> Arrays:
        if self._prepare:
            self._prepare(keys)
        images, labels, indices = zip(*[self._dataset[key] for key in keys], strict=True)
        return [np.stack(images), np.array(labels, np.int64), np.array(indices, np.int64)]

    def __getitem__(self, keys: Iterable[Key]) -> list[Any]:
        """Return [images, labels, indices, None], or [filler, error]; Paddle passes objects along."""
        try:
            return [*self.arrays(keys), None]
        except DataError as error:
            return [np.zeros(1, np.uint8), DataError(str(error))]
        except Exception:
            text = f"a loader worker failed:\n{traceback.format_exc()}"
            return [np.zeros(1, np.uint8), RuntimeError(text)]


class _AsOneItem:
    """Yields each batch of keys as the one item of a list, so that `_Fetch` gets it whole."""

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self._batch_sampler = batch_sampler

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __iter__(self) -> Iterator[list[list[tuple[int, int]]]]:
        for keys in self._batch_sampler:
            yield [keys]


def _only_item(items: list[Any]) -> Any:
    return items[0]


def _start_worker(parent_pid: int, worker_id: int) -> None:
    detach_worker(parent_pid)
    core.set_num_threads(1)


def _get_or_empty(get: Callable[..., Any], watch: WorkerWatch, *args: Any, **kwargs: Any) -> Any:
    """Get from the workers' queue, where a worker that died while handing over counts as nothing there.

    Paddle's reading thread would print a traceback; the watch reports the dead worker anyway.
    """
    try:
        return get(*args, **kwargs)
    except queue.Empty:
        raise
    except Exception:
        if watch.dead_worker():
            raise queue.Empty from None
        raise


def _next_batch(batches: Any, watch: WorkerWatch) -> Batch | None:
    """Wait for the next batch; None at the end."""
    watch.waiting_since = time.monotonic()
    try:
        *tensors, error = next(batches)
    except StopIteration:
        return None
    except SystemError as failure:  # what Paddle raises when its queue was interrupted
        watch.dead_worker()
        raise DataError(watch.fault() or f"the loader failed: {failure}") from failure
    watch.waiting_since = None
    if error is not None:
        raise error
    return Batch(*tensors)


def _stop(batches: Any, watch: WorkerWatch) -> None:
    watch.close()
    if not watch.fault():
        # Workers that end by themselves give back the shared memory of batches nobody took.
        batches._try_shutdown_all(GRACE_SECONDS)
    end_workers(batches._workers)
    batches._try_shutdown_all(GRACE_SECONDS)
    vars(batches._data_queue).pop("get", None)  # it leads back here: a ring would outlive this iteration
