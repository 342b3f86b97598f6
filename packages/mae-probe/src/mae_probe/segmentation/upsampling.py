"""From the scores of patches to the class of each pixel."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_ROWS = 64  # of an image, scored at a time


def pixel_classes(scores: NDArray[np.float32], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.integer]:
    """Bring scores [L, K] of the patches of a grid to (height, width) bilinearly; return the class of the largest.

    Pixels are squares (`align_corners=False` of other libraries). A few rows are made at a time: the scores of all
    classes of a large image may be too many to hold.

    Returns:
        [H, W], uint8 or, for more than 256 classes, uint16.
    """
    rows, columns = (bilinear(patches, pixels) for patches, pixels in zip(grid, size, strict=True))
    wide = np.einsum("wc,rck->rwk", columns, scores.reshape(*grid, -1))  # [rows, W, K]
    dtype = np.uint8 if scores.shape[1] <= 256 else np.uint16
    return np.concatenate([part.argmax(axis=2).astype(dtype) for part in _parts(rows, wide)])


def _parts(rows: NDArray[np.float32], wide: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(rows), _ROWS):
        yield np.tensordot(rows[first : first + _ROWS], wide, 1)  # [h, W, K]


def bilinear(inputs: int, outputs: int) -> NDArray[np.float32]:
    """Return the weights [outputs, inputs] by which a line of `inputs` values becomes one of `outputs`."""
    places = np.clip((np.arange(outputs) + 0.5) * inputs / outputs - 0.5, 0, inputs - 1)
    weights = 1 - np.abs(places[:, None] - np.arange(inputs))
    return np.maximum(weights, 0).astype(np.float32)
