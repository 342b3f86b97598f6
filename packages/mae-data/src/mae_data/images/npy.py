"""NumPy's `.npy` files as images; nothing in a file is executed."""

import io
import math
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.bounds import check_size

MAGIC = np.lib.format.MAGIC_PREFIX
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    """Read an array [H, W] or [H, W, C] as pixels [H, W, C].

    Args:
        file: open at its beginning.
        max_pixels: larger arrays are refused by their header.

    Raises:
        DataError: it is another array, or cut off.
    """
    shape, _ = read_header(file)
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(f"shape {shape} is not an image's; save [height, width] or [height, width, channels]")
    check_size(shape[1], shape[0], max_pixels)
    file.seek(0)
    return np.atleast_3d(np.load(file, allow_pickle=False))


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array of numbers that is there as a whole; the file is left anywhere.

    Raises:
        DataError: it is another array, or cut off.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:
        raise DataError(f"format {version} holds records; save an array of numbers")
    shape, _, dtype = _READ_HEADER[version](file)
    if dtype.hasobject or dtype.kind not in "uif":
        raise DataError(f"{dtype} is not a type of pixels")
    begin = file.tell()
    if math.prod(shape) * dtype.itemsize > file.seek(0, io.SEEK_END) - begin:
        raise DataError(f"it is cut off: shape {shape} of {dtype} takes more bytes than it has")
    return shape, dtype
