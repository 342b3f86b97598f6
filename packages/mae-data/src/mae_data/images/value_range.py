"""What the numbers of stored pixels mean: which counts as black, which as white."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


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
    def bounds(self) -> tuple[np.float32, np.float32]:
        """Both ends as pixels hold them: a float at an end lies inside."""
        return np.float32(self.low), np.float32(self.high)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" if self.is_float else f"{self.high:g}"


EIGHT_BITS = ValueRange(0.0, 255.0, False)
ANY_FLOATS = ValueRange(-math.inf, math.inf, True)


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


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
