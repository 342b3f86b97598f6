"""The loader: batches of images as Paddle tensors, from this process or from workers."""

import sys

# Paddle 2.6 brings its own zlib; loaded after it, Python's would crash at its first use.
import zlib  # noqa: F401
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import paddle

from mae_data.loading.batch import Batch
from mae_data.loading.worker import Dataset, fetch_ahead
from mae_data.loading.worker_pool import WorkerPool
from mae_data.sources.source import TargetType

TIMEOUT_SECONDS = 300.0
TIMEOUT_ADVICE = "check the storage that holds the images, or raise the timeout"


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
    timeout: float = TIMEOUT_SECONDS,
    advice: str = TIMEOUT_ADVICE,
    stop: Callable[[], bool] = lambda: False,
) -> "BatchLoader":
    """Make a loader over (images uint8 [N, H, W, C], labels int64 [N] or other targets, indices int64 [N]).

    Images of another value range are float32, or uint16 as int16 of the same bits, since Paddle has no uint16.
    Batches come in the sampler's order, whatever the number of workers. Iterate in the main thread:
    workers end with the thread that started them.

    Args:
        dataset: gives (image, label, index) for a key of the sampler.
        batch_sampler: yields a list of keys per batch.
        num_workers: processes that read ahead (on Linux); 0 reads in this process, when a batch is asked for.
        prefetch: batches that each worker reads ahead.
        timeout: longest wait for a batch of the workers in seconds; 0 waits for ever, with a warning each minute.
        advice: ends the message about a wait that was too long.
        stop: returns whether the run is to stop; waiting for workers that give no batch is given up then.

    Raises:
        DataError: while iterating: an image cannot be read, or a worker was killed or gave no batch in
            time; the message names it.
    """
    if num_workers < 0 or prefetch < 1 or timeout < 0:
        raise ValueError(
            f"num_workers={num_workers}, prefetch={prefetch}, timeout={timeout}; "
            "use at least 0 workers, 1 batch and 0 seconds"
        )
    # Elsewhere there is no memory to share without a name, and no death with the parent.
    num_workers = min(num_workers, len(batch_sampler)) if sys.platform == "linux" else 0
    make_pool = partial(WorkerPool, dataset, num_workers, prefetch, timeout, advice, stop)
    return BatchLoader(dataset, batch_sampler, make_pool if num_workers else None)


class BatchLoader:
    """An iterable over batches; see `make_loader`. Each iteration starts the sampler anew."""

    def __init__(
        self, dataset: Dataset, batch_sampler: BatchSampler, make_pool: Callable[[], WorkerPool] | None
    ) -> None:
        self._dataset = dataset
        self._batch_sampler = batch_sampler
        self._make_pool = make_pool

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._make_pool:
            with self._make_pool() as pool:
                yield from pool.batches(self._batch_sampler, as_tensors)
            return
        # A thread that reads ahead would compete with the training for this process's cores and the interpreter:
        # a plain loop was never slower.
        for keys in self._batch_sampler:
            fetch_ahead(self._dataset, keys)
            images, targets, indices = zip(*[self._dataset[key] for key in keys], strict=True)
            dtype = TargetType.of(self._dataset).dtype
            yield as_tensors(np.stack(images), np.array(targets, dtype), np.array(indices, np.int64))


def as_tensors(*arrays: npt.NDArray[Any]) -> Batch:
    """Copy arrays to the device."""
    images, targets, indices = arrays
    return Batch(*map(paddle.to_tensor, (as_paddle_takes(images), targets, indices)))


def as_paddle_takes(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View uint16 as int16 of the same bits, as the models read it: Paddle would take it for bfloat16."""
    return images.view(np.int16) if images.dtype == np.uint16 else images
