"""NIfTI volumes (versions 1 and 2, also gzipped), of which one slice at a time is read and nothing else is held.

A slice travels as a NIfTI file of its own, so that whatever takes image files takes slices.
"""

import gzip
import io
import math
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.bounds import check_growth, check_size

Slice = tuple[int | None, ...]  # of each axis the place; None for the two that remain
GZIP = b"\x1f\x8b"
_MAGIC_1, _MAGIC_2, _LENGTH = b"n+1\0", b"n+2\0\r\n\x1a\n", 552
# Of each version: its length, and types and places of the sides, the type of values, their begin, slope and intercept.
_FIELDS: dict[int, tuple[Any, ...]] = {
    1: (348, ("8h", 40), ("h", 70), ("f", 108), ("2f", 112)),
    2: (540, ("8q", 16), ("h", 12), ("q", 168), ("2d", 176)),
}
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "V3", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    2304: "V4",
}  # fmt: skip
_NUMBERS = {name: number for number, name in _TYPES.items()}
_OTHER_TYPES = {1: "bits", 32: "complex", 1536: "float128", 1792: "complex", 2048: "complex"}
# Types that pixels keep; others become float32.
_KEPT = ("uint8", "int8", "uint16", "int16")


@dataclass(frozen=True)
class Header:
    """What a NIfTI file says of its values.

    Attributes:
        shape: sides, the fastest first: two of a slice, three of a volume, four of several volumes.
        dtype: type of a value as stored; "V3" and "V4" for colours of 8 bits.
        offset: where the values begin, in bytes.
        slope, inter: what stored values are multiplied by, and then raised by.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    inter: float


def is_nifti(head: bytes) -> bool:
    """Return whether, by its first 348 bytes, a file is NIfTI, values in the same file."""
    return head[344:348] == _MAGIC_1 or head[4:12] == _MAGIC_2


def unpacked(file: BinaryIO) -> BinaryIO:
    """Return the file itself, or what unpacks it as it is read; the file is at its beginning."""
    is_packed = file.read(2) == GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[return-value]


def read_header(stream: BinaryIO, size: int, is_packed: bool) -> Header:
    """Read and check the header of a file.

    Args:
        stream: unpacked, at its beginning.
        size: of the file on the disk, in bytes.
        is_packed: whether the file is gzipped.

    Raises:
        DataError: its header is damaged, or promises what cannot be.
    """
    head = stream.read(_LENGTH)
    if not is_nifti(head):
        raise DataError("not a NIfTI file of one part; save it as .nii or .nii.gz")
    header = _parse(head, 1 if head[344:348] == _MAGIC_1 else 2)
    promised = header.offset + math.prod(header.shape) * header.dtype.itemsize
    if is_packed:
        check_growth(promised, size)
    elif promised > size:
        raise DataError(f"it is cut off: shape {header.shape} takes {promised} bytes, and it has {size}")
    return header


def _parse(head: bytes, version: int) -> Header:
    length, *fields = _FIELDS[version]
    order: Literal["<", ">"] = "<" if struct.unpack_from("<i", head)[0] == length else ">"
    try:
        found = [struct.unpack_from(order + letters, head, place) for letters, place in fields]
    except struct.error:
        raise DataError("its header is cut off") from None
    (count, *sides), (kind,), (offset,), (slope, inter) = found
    if not 1 <= count <= 7 or any(side < 1 for side in sides[:count]):
        raise DataError(f"its header is damaged: {count} axes of {sides}")
    shape = tuple(sides[:count])
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 4:
        raise DataError(f"shape {shape} is not that of a slice, a volume or several volumes")
    if kind not in _TYPES:
        raise DataError(f"values of type {_OTHER_TYPES.get(kind, kind)} (NIfTI's {kind}); save real numbers")
    if not math.isfinite(offset) or offset < length:
        raise DataError(f"its header is damaged: values begin at {offset}")
    if slope == 0 or not math.isfinite(slope):  # as the standard has it: there is no scale
        slope, inter = 1.0, 0.0
    if not math.isfinite(inter):
        raise DataError(f"its header is damaged: the intercept is {inter}")
    return Header(shape, np.dtype(_TYPES[kind]).newbyteorder(order), int(offset), slope, inter)


def read_slice(stream: BinaryIO, header: Header, place: Slice, is_packed: bool, max_pixels: int) -> bytes:
    """Read one slice of a volume as a NIfTI file of its own.

    A file that is not packed is mapped; a gzipped one is read up to the slice, a plane of it at a time.

    Args:
        stream: the file, or what unpacks it; anywhere.
        header: its header.
        place: for each axis, which slice.
        is_packed: whether it can only be read forwards.
        max_pixels: of a slice.

    Raises:
        DataError: there is no such slice, or the file is damaged.
    """
    if len(place) < len(header.shape):
        place += (None,) * (len(header.shape) - len(place))
    check_place(place, header.shape)
    height, width = (side for side, at in zip(header.shape, place, strict=True) if at is None)
    check_size(width, height, max_pixels)
    if not is_packed:
        whole = np.memmap(stream, header.dtype, "r", header.offset, header.shape, "F")
        values = np.array(whole[tuple(slice(None) if at is None else at for at in place)])
    else:
        values = _read_ahead(stream, header, place)
    return write_slice(values, header.slope, header.inter)


def check_place(place: Slice, shape: tuple[int, ...]) -> None:
    """Refuse a slice that a shape does not have."""
    written = f"[{','.join(':' if at is None else str(at) for at in place)}]"
    if len(place) != len(shape) or place.count(None) != 2 or None in place[3:]:
        raise DataError(f"{written} is no slice of shape {shape}; write such as {example(shape)}")
    if any(at is not None and at >= side for at, side in zip(place, shape, strict=True)):
        raise DataError(f"there is no slice {written} in shape {shape}; slices count from 0")


def example(shape: tuple[int, ...]) -> str:
    """Return how the first slice of a volume, or of the first one, is named."""
    return "[:,:,0]" if len(shape) < 4 else "[:,:,0,0]"


def _read_ahead(stream: BinaryIO, header: Header, place: Slice) -> npt.NDArray[np.generic]:
    """Read on to a slice of what can only be read forwards."""
    rows, columns, depth = header.shape[:3]
    plane, time = rows * columns * header.dtype.itemsize, (place[3] or 0) if len(place) > 3 else 0
    first, count = (time * depth + (place[2] or 0), 1) if place[2] is not None else (time * depth, depth)
    stream.seek(header.offset + first * plane)
    cut = tuple(slice(None) if at is None else at for at in place[:2])
    found = []
    for _ in range(count):
        data = stream.read(plane)
        if len(data) < plane:
            raise DataError("it is cut off")
        found.append(np.array(np.frombuffer(data, header.dtype).reshape((rows, columns), order="F")[cut]))
    return found[0] if place[2] is not None else np.stack(found, axis=-1)


def write_slice(values: npt.NDArray[np.generic], slope: float = 1.0, inter: float = 0.0) -> bytes:
    """Return values [H, W] as a NIfTI-2 file."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    head = bytearray(544)
    struct.pack_into("<i8shh8q", head, 0, 540, _MAGIC_2, _NUMBERS[little.dtype.str[1:]], 8 * little.itemsize, 2,
                     *values.shape, 1, 1, 1, 1, 1)  # fmt: skip
    struct.pack_into("<8d", head, 104, *[1.0] * 8)  # sides of a pixel: not known here
    struct.pack_into("<q2d", head, 168, 544, slope, inter)
    return bytes(head) + little.tobytes("F")


def read_nifti(file: BinaryIO, max_pixels: int) -> npt.NDArray[np.generic]:
    """Read a NIfTI file of one slice as pixels [H, W, C], in the unit that its slope and intercept say.

    Args:
        file: open at its beginning.
        max_pixels: of the image.

    Raises:
        DataError: it holds a volume, is damaged or cut off.
    """
    size, stream = file.seek(0, io.SEEK_END), None
    file.seek(0)
    stream = unpacked(file)
    header = read_header(stream, size, stream is not file)
    if len(header.shape) > 2:
        raise DataError(
            f"a volume of shape {header.shape}: name a slice of it, such as NAME{example(header.shape)}"
            " (`mae-data index` writes a list of all)"
        )
    check_size(header.shape[1], header.shape[0], max_pixels)
    stream.seek(header.offset)
    count = math.prod(header.shape) * header.dtype.itemsize
    data = stream.read(count)
    if len(data) < count:
        raise DataError("it is cut off")
    values = np.frombuffer(data, header.dtype).reshape(header.shape, order="F")
    if header.dtype.kind == "V":
        return np.ascontiguousarray(values).view(np.uint8).reshape(*header.shape, -1)
    return rescaled(values, header.slope, header.inter)[:, :, None]


def rescaled(values: npt.NDArray[np.generic], slope: float, inter: float) -> npt.NDArray[np.generic]:
    """Return slope x value + intercept as float32; integers of up to 16 bits stay where nothing changes."""
    if (slope, inter) == (1.0, 0.0):
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return native if native.dtype.name in _KEPT else native.astype(np.float32)
    return (values.astype(np.float64) * slope + inter).astype(np.float32)
