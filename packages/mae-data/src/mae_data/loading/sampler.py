"""Batch samplers: which samples make up which batch, as a function of seed and step alone."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.rng import ORDER_STREAM, philox

PART_BITS = 6
KeyBatch = list[tuple[int, int]]


class TrainBatchSampler:
    """Batches of (epoch, index) for all steps of a run, epoch after epoch.

    Each epoch is a permutation of all samples, keyed by (seed, epoch), cut into global batches of
    batch_size * world_size * accum_iter; a remainder is dropped. A step yields accum_iter batches, each
    the rank's contiguous slice of its part of the global batch. Runs that cut the same global batch up
    in another way see the same global batches.

    With `repeats`, each image is asked for that many times in a row, as MAE-ST and Hiera train: it is decoded once and
    cropped anew each time. An epoch still has as many samples, of a part of the images; `repeats` epochs make one pass
    over all. The keys of an image carry the numbers of these epochs, so each of its crops is that of one epoch.

    Args:
        num_samples: size of the dataset.
        batch_size: samples per rank and batch.
        accum_iter: batches per rank and step.
        seed: seed of the order, 0 to 2**64 - 1.
        rank: this process, 0 to world_size - 1.
        world_size: number of processes.
        repeats: samples of one image in a row; divides batch_size.
        start_step: first step to yield, counted over the whole run: a resumed run gives its step here.
        num_steps: steps of the whole run; the last one yielded is num_steps - 1.

    Raises:
        DataError: the dataset is smaller than one global batch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        accum_iter: int = 1,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        repeats: int = 1,
        start_step: int = 0,
        num_steps: int,
    ) -> None:
        _check_slice(batch_size, rank, world_size)
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed={seed}; use 0 to 2**64 - 1")
        if accum_iter < 1:
            raise ValueError(f"accum_iter={accum_iter}; use at least 1")
        if repeats < 1 or batch_size % repeats:
            raise ValueError(f"repeats={repeats} does not divide batch_size={batch_size}; use a divisor of it")
        if start_step < 0 or num_steps < 0:
            raise ValueError(f"start_step={start_step}, num_steps={num_steps}; neither may be negative")
        self.global_batch = batch_size * world_size * accum_iter
        self.steps_per_epoch = steps_per_epoch(num_samples, batch_size, accum_iter, world_size)
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.accum_iter = accum_iter
        self.rank = rank
        self.world_size = world_size
        self.repeats = repeats
        self.start_step = start_step
        self.num_steps = num_steps

    def __len__(self) -> int:
        return max(0, self.num_steps - self.start_step) * self.accum_iter

    def __iter__(self) -> Iterator[KeyBatch]:
        repeats, known = self.repeats, -1
        steps_per_pass = self.steps_per_epoch * repeats
        for step in range(self.start_step, self.num_steps):
            number, step_in_pass = divmod(step, steps_per_pass)
            if number != known:
                order = EpochOrder(self.num_samples, self.seed, number)
                known = number
            for part in range(self.accum_iter):
                start = step_in_pass * self.global_batch + (part * self.world_size + self.rank) * self.batch_size
                images = order.take(start // repeats, (start + self.batch_size) // repeats).tolist()
                yield [(number * repeats + r, index) for index in images for r in range(repeats)]


class EvalBatchSampler:
    """Batches of (0, index) that cover a dataset exactly once over all ranks.

    Rank r takes the samples r, r + world_size, ...; nothing is padded or repeated, so the last batch
    may be short, ranks may differ by one sample, and a rank may have no batch at all.

    Args:
        num_samples: size of the dataset.
        batch_size: samples per rank and batch.
        rank: this process, 0 to world_size - 1.
        world_size: number of processes.
    """

    def __init__(self, num_samples: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        _check_slice(batch_size, rank, world_size)
        self.batch_size = batch_size
        self._indices = range(rank, num_samples, world_size)

    def __len__(self) -> int:
        return -(-len(self._indices) // self.batch_size)

    def __iter__(self) -> Iterator[KeyBatch]:
        for start in range(0, len(self._indices), self.batch_size):
            yield [(0, index) for index in self._indices[start : start + self.batch_size]]


def steps_per_epoch(num_samples: int, batch_size: int, accum_iter: int = 1, world_size: int = 1) -> int:
    """Return the steps in which an epoch sees each sample at most once; a remainder is left out.

    Args: see `TrainBatchSampler`.

    Raises:
        DataError: the dataset is smaller than one global batch.
    """
    global_batch = batch_size * world_size * accum_iter
    if num_samples < global_batch:
        raise DataError(
            f"{num_samples} images are fewer than one global batch of {global_batch} "
            f"(batch size {batch_size} x {world_size} processes x {accum_iter} accumulated); "
            "use a smaller batch size or more images"
        )
    return num_samples // global_batch


def epoch_order(num_samples: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the permutation of an epoch: int64 [num_samples].

    It sorts raw Philox words because NumPy keeps those the same in every release, unlike shuffles.
    """
    words = philox(seed, ORDER_STREAM, epoch).random_raw(num_samples)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


class EpochOrder:
    """The same permutation, any part of it at once: 14 million samples need seconds to be sorted.

    The samples are dealt out by the upper bits of their words, and each part is sorted when it is reached.

    Args:
        num_samples: size of the dataset.
        seed: seed of the order.
        epoch: epoch number.
    """

    def __init__(self, num_samples: int, seed: int, epoch: int) -> None:
        self._words = philox(seed, ORDER_STREAM, epoch).random_raw(num_samples)
        self._parts = (self._words >> np.uint64(64 - PART_BITS)).astype(np.uint8)
        self._ends = np.cumsum(np.bincount(self._parts, minlength=2**PART_BITS))
        self._number = -1
        self._sorted = np.empty(0, np.int64)

    def take(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return the samples at the places from `start` to before `stop`: int64 [stop - start]."""
        pieces = []
        while start < stop:
            number = int(np.searchsorted(self._ends, start, side="right"))
            end = int(self._ends[number])
            part = self._part(number)
            pieces.append(part[len(part) - (end - start) :][: stop - start])
            start += len(pieces[-1])
        return np.concatenate(pieces)

    def _part(self, number: int) -> npt.NDArray[np.int64]:
        if number != self._number:
            members = np.flatnonzero(self._parts == number)
            self._sorted = members[np.argsort(self._words[members], kind="stable")]
            self._number = number
        return self._sorted


def _check_slice(batch_size: int, rank: int, world_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; use at least 1")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank={rank} of world_size={world_size}; a rank is from 0 to world_size - 1")
