"""NumPy's `.npy` files as images; nothing in a file is executed."""

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.formats import check_size

MAGIC = np.lib.format.MAGIC_PREFIX
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    """Read an array [H, W] or [H, W, C] as pixels [H, W, C].

    Args:
        file: open at its beginning.
        max_pixels: larger arrays are refused by their header.

    Raises:
        DataError: it is another array.
        ValueError: it is cut off.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:
        raise DataError(f"format {version} holds records; save an array of numbers")
    shape, _, dtype = _READ_HEADER[version](file)
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(f"shape {shape} is not an image's; save [height, width] or [height, width, channels]")
    if dtype.hasobject or dtype.kind not in "uif":
        raise DataError(f"{dtype} is not a type of pixels")
    check_size(shape[1], shape[0], max_pixels)
    file.seek(0)
    return np.atleast_3d(np.load(file, allow_pickle=False))
