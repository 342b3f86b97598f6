"""Pixels as stored against what is stated of them: their type and range, and the values that stand for no data."""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError
from mae_data.images.bands import list_bands
from mae_data.images.tiff_directory import MAGICS, read_pages
from mae_data.images.value_range import ValueRange

FILE = "file"
_GDAL_NODATA = 42113
Pixels = npt.NDArray[Any]
# By the type of a range: the types that it takes, which lose no bit on the way.
_EXACT = {"uint8": ("uint8",), "uint16": ("uint16",), "float32": ("float32", "float16", "int16", "int8")}
_ADVICE = {
    "uint8": "255 is that of 8 bits",
    "uint16": "state the white of its integers, such as 65535",
    "float32": "state the range of its floats as [low, high]",
    "float16": "state the range of its floats as [low, high]",
    "int16": "state the range of its numbers as [low, high]",
    "int8": "state the range of its numbers as [low, high]",
}


@dataclass(frozen=True)
class Nodata:
    """What stands for no data, and what becomes of it; see `as_nodata`.

    Attributes:
        value: a number, beside NaN, which never is data; None: what each file says.
        mean: per channel, what is filled in, 0 and 1 the ends of the value range; None fills in the lower end.
        coverage: images get one more channel, which says how much of each pixel are data.
    """

    value: float | None
    mean: tuple[float, ...] | None = None
    coverage: bool = False

    def fill(self, pixels: Pixels, valid: npt.NDArray[np.bool_], limits: ValueRange) -> Pixels:
        """Return pixels [H, W, C] of the range's type with the mean where they are not valid."""
        if self.mean is None:
            mean = np.asarray(limits.low if math.isfinite(limits.low) else 0.0)
        else:
            mean = limits.low + np.asarray(self.mean) * limits.span
        return np.where(valid, pixels, (mean if limits.is_float else np.rint(mean)).astype(pixels.dtype))


def as_nodata(given: float | str | None, mean: Sequence[float] | None = None, coverage: bool = False) -> Nodata | None:
    """Read what users state as no data: a number, "nan", or "file" for what each file says; None for nothing.

    Raises:
        ValueError: it is neither.
    """
    if given is None:
        return None
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and not math.isinf(given)
    if not is_number and given not in ("nan", FILE):
        raise ValueError(f'no data {given!r}; give the number that stands for it, "nan", or "file" for what files say')
    return Nodata(None if given == FILE else float(given), None if mean is None else tuple(mean), coverage)


def parse_nodata(word: str | None) -> float | str | None:
    """Read what a command line gives.

    Raises:
        InputError: it is nothing that stands for no data.
    """
    try:
        given = word if word in (None, "nan", FILE) else float(word)
        as_nodata(given)
    except ValueError:
        raise InputError(f"--nodata {word}: give a number, nan, or file for what each file says") from None
    return given


def has_data(pixels: Pixels, value: float | None) -> npt.NDArray[np.bool_]:
    """Return which values are data: not NaN, nor `value` in the type that they are stored in."""
    if pixels.dtype.kind == "f":
        valid: npt.NDArray[np.bool_] = ~np.isnan(pixels)
        with np.errstate(over="ignore"):  # of a number that the type does not hold
            return valid if value is None else valid & (pixels != pixels.dtype.type(value))
    limits = np.iinfo(pixels.dtype)
    if value is None or not (limits.min <= value <= limits.max and value == int(value)):
        return np.ones(pixels.shape, np.bool_)
    return pixels != int(value)


def with_coverage(pixels: Pixels, valid: npt.NDArray[np.bool_], limits: ValueRange) -> Pixels:
    """Append a channel that is white where all of a pixel's values are data, black where none is."""
    share = limits.low + valid.mean(axis=2, keepdims=True) * limits.span
    return np.concatenate([pixels, (share if limits.is_float else np.rint(share)).astype(pixels.dtype)], axis=2)


def nodata_of_file(file: BinaryIO) -> float | None:
    """Return the value that a TIFF states as GDAL does; None where it states none; back at its beginning."""
    file.seek(0)
    head = file.read(4)
    try:
        text = read_pages(file)[0].text(_GDAL_NODATA) if head.startswith(MAGICS) else ""
        return float(text)
    except (ValueError, IndexError, DataError, struct.error):
        return None
    finally:
        file.seek(0)


def filled_pixels(
    pixels: npt.NDArray[Any],
    channels: int,
    limits: ValueRange,
    names: Sequence[str],
    nodata: Nodata,
    file_says: Callable[[], float | None] = lambda: None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return pixels in the type of the range, filled in, and which values are data; refuse what contradicts it."""
    valid = has_data(pixels, file_says() if nodata.value is None else nodata.value)
    pixels = check_kind(pixels, channels, limits, names)
    return check_values(nodata.fill(pixels, valid, limits), limits), valid


def check_kind(
    pixels: npt.NDArray[Any], channels: int, limits: ValueRange, names: Sequence[str] = ()
) -> npt.NDArray[Any]:
    """Return pixels in the type of the range; refuse another number of channels, and types that lose bits in it."""
    wanted, kind, count = np.dtype(limits.dtype), pixels.dtype.name, pixels.shape[2]
    others = "" if count == channels else f"; the image has {list_bands(count, names)}, {channels} are asked for"
    check_type(pixels.dtype)
    if kind not in _EXACT[wanted.name]:
        advice = f"{_ADVICE[kind]} (VALUE_RANGE, --value-range)"
        raise DataError(
            f"{kind} values, but the value range {limits} is one of {wanted.name}: {advice}"
            + (f"{others} (IMAGE_CHANNELS, --channels)" if others else "")
        )
    if others:
        choice = f" or choose bands, such as {list(range(channels))} (BANDS, --bands)" if count > channels else ""
        raise DataError(f"{others[2:]}: state {count} (IMAGE_CHANNELS, --channels){choice}")
    return pixels.astype(wanted, copy=False)


def check_values(pixels: npt.NDArray[Any], limits: ValueRange) -> npt.NDArray[Any]:
    """Return pixels; refuse those outside the range."""
    low, high = pixels.min(), pixels.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(
            "the image holds NaN or infinite values; fill them with numbers of the value range, or, where NaN stands"
            " for no data, say so (NODATA nan, --nodata nan)"
        )
    if low < limits.bounds[0] or high > limits.bounds[1]:
        raise DataError(
            f"values from {low:g} to {high:g} leave the value range {limits}; state a wider one, or the value that"
            " stands for no data (NODATA, --nodata)"
        )
    return pixels


def check_type(dtype: np.dtype[Any]) -> None:
    """Refuse a type that no value range takes."""
    if dtype.name not in _ADVICE:
        raise DataError(f"{dtype.name} values; save uint8, uint16 or float32")


def mean_of_squares(pixels: Pixels, side: int, valid: npt.NDArray[np.bool_] | None) -> Pixels:
    """Average squares of pixels [C, H, W] -> [C, H // side, W // side].

    Args:
        valid: which values are data; others do not count, but where there is no other. None: all are.
    """
    channels, height, width = pixels.shape
    squares = (channels, height // side, side, width // side, side)
    if valid is None:
        kind = np.float64 if pixels.dtype.itemsize > 2 else np.float32  # of 16 bits, exact up to 16 x 16
        mean = pixels.reshape(squares).mean(axis=(2, 4), dtype=kind)
        counts = np.ones(mean.shape)
    else:
        counts = valid.reshape(squares).sum(axis=(2, 4))
        sums = np.where(valid, pixels, 0).reshape(squares).sum(axis=(2, 4), dtype=np.float64)
        mean = sums / np.maximum(counts, 1)
    mean = mean if pixels.dtype.kind == "f" else np.rint(mean)
    return np.where(counts > 0, mean, pixels[:, ::side, ::side]).astype(pixels.dtype)
