"""Arrays in pickles: what stands for NumPy's, sized by their bytes, and which of a checkpoint's are its weights."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import PLAIN, Builder, safe_text, type_name

_CODES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_MAX_DIMENSIONS, _MAX_SIZE = 32, 1 << 60  # NumPy 1's own


class DType:
    """A number type; `build` receives its byte order."""

    def __init__(self, code: str, *flags: Any) -> None:
        if not isinstance(code, str) or code not in _CODES:
            raise ValueError(
                f"dtype {safe_text(code) if isinstance(code, str) else type_name(code)} is not a number type"
            )
        self.numpy = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take the byte order from `dtype.__setstate__`'s tuple."""
        self.numpy = np.dtype(f"{'>' if state[1] == '>' else '<'}{self.numpy.str[1:]}")


class Array:
    """An array; `build` receives shape, type and bytes."""

    def __init__(self, cls: Any, shape: Any, code: Any) -> None:
        self.value: NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        """Take (version, shape, dtype, is Fortran order, bytes); a view of the bytes, nothing is allocated."""
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, DType) or not isinstance(data, bytes):
            raise ValueError("an array without a number type or without bytes")
        if type(shape) is not tuple or len(shape) > _MAX_DIMENSIONS:
            raise ValueError("an array of too many dimensions, or without a shape")
        if any(type(side) is not int or not 0 <= side <= _MAX_SIZE for side in shape):
            raise ValueError("an array's shape is not made of sizes")
        if math.prod(shape) * dtype.numpy.itemsize != len(data):
            raise ValueError(f"an array of shape {list(shape)[:8]} comes with {len(data)} bytes")
        flat = np.frombuffer(data, dtype.numpy)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def scalar(dtype: DType, data: bytes) -> Any:
    """Build a number from its bytes."""
    if not isinstance(dtype, DType) or not isinstance(data, bytes) or len(data) != dtype.numpy.itemsize:
        raise ValueError("a scalar of the wrong size")
    return np.frombuffer(data, dtype.numpy)[0].item()


def bfloat16_to_float32(bfloat16: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Turn bfloat16 bit patterns into float32, exactly."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since NumPy 2
NUMPY: dict[str, Builder | None] = {
    **PLAIN,
    "numpy.ndarray": None,
    "numpy.dtype": DType,
    **{f"{module}._reconstruct": Array for module in _MODULES},
    **{f"{module}.scalar": scalar for module in _MODULES},
}


T = TypeVar("T")
_KEYS = ("model", "state_dict", "model_state_dict")
_MOST = 4  # tied weights share numbers; beyond that, a small file asks for much memory


def pick_tensors(
    content: Any, tensor_of: Callable[[Any], T | None], bytes_of: Callable[[T], int], file_size: int
) -> dict[str, T]:
    """Return name -> tensor of a bare state dict, or of one under `model` or `state_dict`.

    Args:
        content: what the file holds.
        tensor_of: returns the tensor that a value stands for, None where it is something else.
        bytes_of: returns what a tensor takes, though several may share their numbers.
        file_size: bytes.

    Raises:
        CheckpointError: there are no tensors, or they are much larger than the file.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"it holds a {type(content).__name__}, not a dictionary of weights")
    nested = next((content[key] for key in _KEYS if isinstance(content.get(key), Mapping)), content)
    tensors = {name: tensor for name, value in nested.items() if (tensor := tensor_of(value)) is not None}
    if not tensors:
        keys = ", ".join(safe_text(str(key)) for key in list(nested)[:5])
        raise CheckpointError(f"it holds no tensors (keys: {keys or 'none'})")
    if (total := sum(map(bytes_of, tensors.values()))) > _MOST * file_size:
        raise CheckpointError(f"its tensors take {total:,} bytes, over {_MOST} times the file's {file_size:,}")
    return {str(name): tensor for name, tensor in tensors.items()}
