"""Windows of one size that cover an image: where they lie, and how what is said of them becomes a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.native_code import Box, Size


@dataclass(frozen=True, order=True)
class Window:
    """A part of an image, in pixels; row and column are those of its upper left corner."""

    row: int
    column: int
    height: int
    width: int

    @property
    def box(self) -> Box:
        """The same as (top, left, height, width)."""
        return self.row, self.column, self.height, self.width


def sliding_windows(height: int, width: int, size: int | Size, overlap: int = 0) -> list[Window]:
    """List the windows that cover an image, row by row, all of one size.

    Neighbours overlap by as many pixels as are stated; the last ones of a row and of a column are moved back to end
    with the image, and overlap more.

    Args:
        height, width: of the image.
        size: side of a window, or (height, width).
        overlap: pixels that neighbours share, less than a side.

    Raises:
        DataError: the image is smaller than a window.
        ValueError: the overlap leaves no step.

    Examples:
        >>> [window.column for window in sliding_windows(4, 10, 4, overlap=1)]
        [0, 3, 6]
        >>> sliding_windows(5, 4, 4)[-1]
        Window(row=1, column=0, height=4, width=4)
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    if not 0 <= overlap < min(rows, columns):
        raise ValueError(f"overlap={overlap} of windows of {columns}x{rows}; give 0 or more, less than a side")
    if height < rows or width < columns:
        raise DataError(f"{width}x{height} pixels are less than a window of {columns}x{rows}")
    starts = (_starts(height, rows, rows - overlap), _starts(width, columns, columns - overlap))
    return [Window(row, column, rows, columns) for row in starts[0] for column in starts[1]]


def fitting_size(size: Size, image: Size) -> Size:
    """Return `size`, or the largest of its shape that fits into an image that is smaller, in pixels.

    Examples:
        >>> fitting_size((64, 64), (480, 640)), fitting_size((64, 32), (48, 640))
        ((64, 64), (48, 24))
    """
    share = min(1.0, image[0] / size[0], image[1] / size[1])
    rows, columns = (max(1, round(side * share)) for side in size)
    return min(rows, image[0]), min(columns, image[1])


def _starts(length: int, side: int, step: int) -> list[int]:
    last = length - side
    return [*range(0, last, step), last]


def stitched(
    windows: Sequence[Window], values: npt.NDArray[Any], height: int, width: int, cell: Size
) -> npt.NDArray[np.float32]:
    """Lay what is said of windows over their image: each cell is the mean of the windows on it, weighted by area.

    Args:
        windows: any of those that cover the image.
        values: [N, D], of each window.
        height, width: of the image, in pixels.
        cell: (height, width) of a cell, in pixels; those at the lower and right edge may reach beyond the image.

    Returns:
        float32 [rows, columns, D]; NaN where no window lies.
    """
    tops, lefts = np.arange(0, height, cell[0]), np.arange(0, width, cell[1])
    sums, weights = np.zeros((len(tops), len(lefts), values.shape[1])), np.zeros((len(tops), len(lefts), 1))
    for window, value in zip(windows, values, strict=True):
        down = _shared(tops, cell[0], window.row, window.height)
        across = _shared(lefts, cell[1], window.column, window.width)
        rows, columns = slice(*_span(down)), slice(*_span(across))
        area = down[rows, None, None] * across[None, columns, None]
        sums[rows, columns] += area * value
        weights[rows, columns] += area
    with np.errstate(invalid="ignore"):
        return (sums / weights).astype(np.float32)


def _shared(starts: npt.NDArray[np.int64], side: int, first: int, length: int) -> npt.NDArray[np.int64]:
    """Return how many pixels of each cell lie in a window, along one axis."""
    shared = np.minimum(starts + side, first + length) - np.maximum(starts, first)
    return np.maximum(shared, 0)


def _span(shared: npt.NDArray[np.int64]) -> tuple[int, int]:
    inside = np.flatnonzero(shared)
    return int(inside[0]), int(inside[-1]) + 1
