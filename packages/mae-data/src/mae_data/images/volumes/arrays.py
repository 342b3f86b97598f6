"""Arrays in files: NumPy's `.npy`, of one image or of many, and the IDX of the MNIST family; nothing is executed."""

import gzip
import io
import math
import os
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.bounds import check_growth, check_size
from mae_data.images.volumes.nifti import GZIP

Array = npt.NDArray[Any]
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
# What a gzipped file may take in the memory of each process: MNIST's images take 47 MB.
_UNPACKED_BYTES = 256 << 20
MAX_IMAGES = 10_000_000  # a small hostile file can promise more, of one pixel each
_KEPT = 4  # files that a process keeps open
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


def is_idx(head: bytes) -> bool:
    """Return whether it is IDX: two zeros, the type, the number of axes."""
    return len(head) > 3 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 1 <= head[3] <= 4


def open_array(path: bytes) -> Array:
    """Map an array, of images or labels; a gzipped one is unpacked and kept.

    Args:
        path: a .npy or IDX file.

    Raises:
        DataError: it is neither, is cut off, or too large to be unpacked.
    """
    found = os.stat(path)
    return _open(path, f"{found.st_size} {found.st_ino} {found.st_mtime_ns}")


@lru_cache(_KEPT)
def _open(path: bytes, state: str) -> Array:
    with open(path, "rb") as file:
        head = file.read(6)
        file.seek(0)
        if head == MAGIC:
            read_header(file)
            return np.load(os.fsdecode(path), mmap_mode="r", allow_pickle=False)
        if head[:2] == GZIP:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_unpacked(stream, size)  # type: ignore[arg-type]
        shape, dtype, begin = _read_idx_header(file)
        if begin + math.prod(shape) * dtype.itemsize > file.seek(0, io.SEEK_END):
            raise DataError(f"it is cut off: shape {shape} of {dtype} takes more bytes than it has")
        return np.memmap(file, dtype, "r", begin, shape)


def _read_idx_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    head = stream.read(4)
    if not is_idx(head):
        raise DataError("neither a .npy file nor IDX of 1 to 4 axes")
    sides = stream.read(4 * head[3])
    if len(sides) < 4 * head[3]:
        raise DataError("its header is cut off")
    return tuple(np.frombuffer(sides, ">u4").tolist()), np.dtype(_IDX_TYPES[head[2]]), 4 + len(sides)


def _read_unpacked(stream: BinaryIO, size: int) -> Array:
    shape, dtype, _ = _read_idx_header(stream)
    count = math.prod(shape) * dtype.itemsize
    check_growth(count, size)
    if count > _UNPACKED_BYTES:
        raise DataError(f"it unpacks to {count / 1e6:,.0f} MB, above the limit of 268 MB; gunzip it")
    data = stream.read(count)
    if len(data) < count:
        raise DataError(f"it is cut off: shape {shape} of {dtype} takes {count} bytes, and {len(data)} are there")
    return np.frombuffer(data, dtype).reshape(shape)


def count_images(path: bytes) -> int:
    """Return how many images an array holds.

    Raises:
        DataError: it is no array of images.
    """
    count = len(_of_images(path))
    if count > MAX_IMAGES:
        raise DataError(f"{count} images are above the limit of {MAX_IMAGES} in one file; split it")
    return count


def read_row(path: bytes, number: int, max_pixels: int) -> Array:
    """Return image `number` of an array as pixels [H, W, C].

    Raises:
        DataError: there is none, or it is too large.
    """
    images = _of_images(path)
    if number >= len(images):
        raise DataError(f"there is no image {number} in shape {images.shape}; images count from 0")
    check_size(images.shape[2], images.shape[1], max_pixels)
    return np.atleast_3d(np.array(images[number]))


def _of_images(path: bytes) -> Array:
    images = open_array(path)
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"shape {images.shape} is not one of images; allowed are [N, H, W] and [N, H, W, C]")
    return images
