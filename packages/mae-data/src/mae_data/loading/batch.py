"""Batches: as the loader hands them to a stage, and in memory that the main process and its workers share.

Shared memory needs Linux: a batch lives in an anonymous file (memfd). It has no name that could outlive a killed run,
is not counted against /dev/shm, and grows to what its batch needs. Both sides map it, so nothing of a batch travels
through a pipe.
"""

import mmap
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mae_data.sources.source import TargetType

if TYPE_CHECKING:
    from paddle import Tensor

Array = npt.NDArray[Any]

ALIGNMENT = 4096
_WORD = np.dtype(np.int64).itemsize


class Batch(NamedTuple):
    """Samples of one forward pass.

    Attributes:
        images: uint8 [N, H, W, C], or what a stage has made of them: features float32 [N, D].
        labels: int64 [N], -1 where the list has none; or another target: [N, T] of labels or numbers, masks [N, H, W].
        indices: int64 [N], the images' places in their list.
    """

    images: "Tensor"
    labels: "Tensor"
    indices: "Tensor"


class BatchMemory:
    """Room for one batch: keys int64 [N, K], indices int64 [N], targets and images [N, ...], and a counter.

    Make it before the workers start; they inherit it. The main process writes the keys, a worker the rest.

    Args:
        target: what each image has beside it.
    """

    def __init__(self, target: TargetType) -> None:
        self._target = target
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

    def indices(self, count: int) -> Array:
        """View the indices: int64 [N]."""
        return self._view(_WORD, (count,), np.int64)

    def keys(self, count: int, width: int) -> Array:
        """View the keys: int64 [N, K]."""
        return self._view(_WORD * (1 + count), (count, width), np.int64)

    def targets(self, count: int, width: int) -> Array:
        """View what each image has beside it: [N, *shape]."""
        return self._view(_WORD * (1 + count * (1 + width)), (count, *self._target.shape), self._target.dtype)

    def images(self, count: int, width: int, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
        """View the images: [N, *shape]."""
        target_bytes = int(np.prod(self._target.shape)) * np.dtype(self._target.dtype).itemsize
        before = _WORD * (1 + count * (1 + width)) + count * target_bytes
        start = -(-before // ALIGNMENT) * ALIGNMENT
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
