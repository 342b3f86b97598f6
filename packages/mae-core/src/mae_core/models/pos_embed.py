"""2-D sine-cosine position embedding (paper section A.1)."""

import numpy as np
from numpy.typing import NDArray


def _sincos_1d(dim: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    omega = 10000.0 ** (-np.arange(dim // 2, dtype=np.float64) / (dim / 2))
    angles = np.outer(positions, omega)  # [L, dim/2]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # [L, dim]


def sincos_pos_embed(dim: int, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Build the embedding of a class token and a grid of patches.

    Args:
        dim: channels D, divisible by 4. The first half encodes the column, the second the row.
        grid: patches (rows, columns).

    Returns:
        float32 [1 + rows*columns, D], computed in float64; row 0 (class token) is zero.

    Raises:
        ValueError: D is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"embedding dimension {dim} is not divisible by 4; sine-cosine positions need that")
    rows, columns = np.meshgrid(
        np.arange(grid[0], dtype=np.float64), np.arange(grid[1], dtype=np.float64), indexing="ij"
    )
    halves = [_sincos_1d(dim // 2, columns.ravel()), _sincos_1d(dim // 2, rows.ravel())]
    patches = np.concatenate(halves, axis=1)  # [L, D]
    return np.concatenate([np.zeros((1, dim)), patches]).astype(np.float32)
