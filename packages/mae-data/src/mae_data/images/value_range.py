"""What the numbers of stored pixels mean, and images of such numbers, of any number of channels.

Pillow's own images have at most four channels, of 8 bits. It resizes single channels of floats, though, adding
up in double precision, which loses nothing of 16 bits; 8-bit channels are resized as it resizes those of RGB.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import InputError
from mae_data.images.native_code import BICUBIC, Box, Size

Pixels = npt.NDArray[Any]


class ValueRange(NamedTuple):
    """The values between black (0 in the unit of statistics) and white (1).

    Attributes:
        low, high: ends of the range, as stored.
        is_float: the pixels are float32; else unsigned integers, of 8 bits up to 255 and of 16 above.
    """

    low: float
    high: float
    is_float: bool

    @property
    def dtype(self) -> npt.DTypeLike:
        """The type that pixels of this range are stored in."""
        return np.float32 if self.is_float else np.uint8 if self.high <= 255 else np.uint16

    @property
    def span(self) -> float:
        """Values from black to white."""
        return self.high - self.low

    @property
    def stated(self) -> int | list[float]:
        """As users state it; see `as_value_range`."""
        return [self.low, self.high] if self.is_float else int(self.high)

    @property
    def bounds(self) -> tuple[np.float32, np.float32]:
        """Both ends as pixels hold them: a float at an end lies inside."""
        return np.float32(self.low), np.float32(self.high)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" if self.is_float else f"{self.high:g}"


EIGHT_BITS = ValueRange(0.0, 255.0, False)
ANY_FLOATS = ValueRange(-math.inf, math.inf, True)
_WHITES = {"uint8": 255.0, "uint16": 65535.0}


def as_value_range(given: float | Sequence[float]) -> ValueRange:
    """Read a range as users state it: one number, the white of unsigned integers, or [low, high] of floats.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(given, ValueRange):
        return given
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 65535:
        return ValueRange(0.0, float(given), False)
    if isinstance(given, list | tuple) and len(given) == 2 and all(map(_is_finite, given)) and given[0] < given[1]:
        return ValueRange(float(given[0]), float(given[1]), True)
    raise ValueError(
        f"value range {given!r}; give the white of integers as one number from 1 to 65535 (255, 65535),"
        " or [low, high] for floats"
    )


def range_of_type(dtype: np.dtype[Any]) -> ValueRange:
    """Return what is assumed of pixels whose range nobody states: all that unsigned integers hold, or any floats."""
    white = _WHITES.get(dtype.name)
    return ANY_FLOATS if white is None else ValueRange(0.0, white, False)


def parse_value_range(numbers: Sequence[float] | None) -> ValueRange | None:
    """Read what a command line gives: one number, or two.

    Raises:
        InputError: they are no value range.
    """
    if numbers is None:
        return None
    try:
        return as_value_range(numbers[0] if len(numbers) == 1 else numbers)
    except ValueError as error:
        raise InputError(str(error)) from None


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Planes:
    """An image as stored.

    Args:
        pixels: [H, W, C] of the range's type: uint8, uint16 or float32.
        limits: what the values mean; resizing overshoots at edges and is clipped to it, as Pillow clips to 0 and 255.
    """

    def __init__(self, pixels: Pixels, limits: ValueRange) -> None:
        assert pixels.ndim == 3
        assert pixels.dtype == limits.dtype
        self.pixels = pixels
        self.limits = limits

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    def getbands(self) -> tuple[str, ...]:
        """Name the channels, by number."""
        return tuple(map(str, range(self.pixels.shape[2])))

    def resized(self, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> Pixels:
        """Cut a box out and resize it, each channel by itself; integers are rounded once, at the end.

        Args:
            box, size, window, flip: see `mae_data.images.native_code.resized`.

        Returns:
            [H, W, C] of the stored type.
        """
        top, left, height, width = box
        y, x, rows, columns = window or (0, 0, *size)
        crop = self.pixels[top : top + height, left : left + width]
        if crop.shape[:2] == tuple(size):
            resized = crop
        else:
            resized = np.stack([self._resize_plane(crop[:, :, c], size) for c in range(crop.shape[2])], axis=-1)
        resized = resized[y : y + rows, x : x + columns]
        return np.ascontiguousarray(resized[:, ::-1] if flip else resized)

    def _resize_plane(self, plane: Pixels, size: Size) -> Pixels:
        kind = np.uint8 if plane.dtype == np.uint8 else np.float32
        image = Image.fromarray(np.ascontiguousarray(plane, dtype=kind))
        # Rows first, as `mae_data.images.native_code.resized` has it.
        image = image.resize((size[1], plane.shape[0]), BICUBIC).resize((size[1], size[0]), BICUBIC)
        resized = np.asarray(image)
        if kind == np.float32 and not self.limits.is_float:
            resized = np.rint(resized)
        return resized.clip(*self.limits.bounds).astype(plane.dtype)


def limits_of(image: object) -> ValueRange:
    """Return what an image's values mean; those of a Pillow image have 8 bits."""
    limits: ValueRange = getattr(image, "limits", EIGHT_BITS)
    return limits
