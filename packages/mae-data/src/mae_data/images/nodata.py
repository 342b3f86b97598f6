"""Values that stand for no data: found, filled with the mean, and told to those who must not learn from them."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError
from mae_data.images.tiff_directory import MAGICS, read_pages
from mae_data.images.value_range import ValueRange

FILE = "file"
_GDAL_NODATA = 42113
Pixels = npt.NDArray[Any]


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
