"""Batches in memory that the main process and its workers share. Linux only.

A batch lives in an anonymous file (memfd): it has no name that could outlive a killed run, is not counted against
/dev/shm, and grows to what its batch needs. Both sides map it, so nothing of a batch travels through a pipe.
"""

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ALIGNMENT = 4096
_WORD = np.dtype(np.int64).itemsize


class BatchMemory:
    """Room for one batch: keys int64 [N, K], labels and indices int64 [N], images [N, ...], and a counter.

    Make it before the workers start; they inherit it. The main process writes the keys, a worker the rest.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("mae-data batch", os.MFD_CLOEXEC)
        self._map: mmap.mmap | None = None

    def close(self) -> None:
        """Give the memory back once no view is left."""
        os.close(self._file)
        self._map = None

    def put_keys(self, keys: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Write the keys of a new batch; return their shape (N, K)."""
        array = np.asarray(keys, np.int64)
        count, width = array.shape
        self.keys(count, width)[:] = array
        self.progress()[:] = 0
        return count, width

    def progress(self) -> Array:
        """View how many samples are done: int64 [1]."""
        return self._view(0, (1,), np.int64)

    def labels_and_indices(self, count: int) -> tuple[Array, Array]:
        """View labels and indices, each int64 [N]."""
        return self._view(_WORD, (count,), np.int64), self._view(_WORD * (1 + count), (count,), np.int64)

    def keys(self, count: int, width: int) -> Array:
        """View the keys: int64 [N, K]."""
        return self._view(_WORD * (1 + 2 * count), (count, width), np.int64)

    def images(self, count: int, width: int, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
        """View the images: [N, *shape]."""
        words = 1 + count * (2 + width)
        start = -(-words * _WORD // ALIGNMENT) * ALIGNMENT
        return self._view(start, (count, *shape), dtype)

    def _view(self, start: int, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
        count = int(np.prod(shape))
        self._grow(start + count * np.dtype(dtype).itemsize)
        assert self._map is not None
        return np.frombuffer(self._map, dtype, count, start).reshape(shape)

    def _grow(self, size: int) -> None:
        """Make file and map large enough; each side grows its own map, and views of the former one stay good."""
        if self._map is not None and len(self._map) >= size:
            return
        size = -(-size // ALIGNMENT) * ALIGNMENT
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        self._map = mmap.mmap(self._file, size)
