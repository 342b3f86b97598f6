"""`.pdparams`: a pickle of NumPy arrays, read and written without Paddle."""

import mmap
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickled_arrays import NUMPY, Array, bfloat16_to_float32, pick_tensors
from mae_core.weights.formats.pickles import read_pickle


def read_pdparams(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a `.pdparams`, bare or under `model`; bfloat16 (which Paddle stores as uint16) as float32."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            content = read_pickle(data, NUMPY)
    except ValueError:  # what mmap raises for an empty file
        raise CheckpointError("it is empty") from None
    arrays = pick_tensors(content, _array_of, lambda array: array.nbytes, path.stat().st_size)
    return {name: bfloat16_to_float32(array) if array.dtype == np.uint16 else array for name, array in arrays.items()}


def _array_of(value: Any) -> NDArray[Any] | None:
    """Nested state dicts hold (Paddle's own name, array) pairs; bare ones hold arrays."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Array):
        value = value[1]
    return value.value if isinstance(value, Array) else None


def pdparams_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a bare state dict as `paddle.save` writes it (protocol 4); `paddle.load` reads it."""
    return pickle.dumps({name: np.ascontiguousarray(array) for name, array in arrays.items()}, protocol=4)
