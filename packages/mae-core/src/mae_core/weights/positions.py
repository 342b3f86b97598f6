"""Position embeddings at another grid of patches: bicubic, as the official fine-tuning does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_A = -0.75  # of the cubic kernel, as in PyTorch


def resize_positions(
    embedding: NDArray[Any], old: tuple[int, int], new: tuple[int, int], extra: int = 1
) -> NDArray[Any]:
    """Resize a position embedding; equals `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.

    Args:
        embedding: [1, extra + rows*columns, D].
        old, new: grids (rows, columns).
        extra: tokens in front that have no place (the class token).

    Returns:
        [1, extra + new rows * new columns, D] of the same dtype, computed in float64.
    """
    dim = embedding.shape[-1]
    grid = embedding[0, extra:].astype(np.float64).reshape(*old, dim)  # [h, w, D]
    rows, columns = _weights(old[0], new[0]), _weights(old[1], new[1])
    resized = np.einsum("ah,hwd,bw->abd", rows, grid, columns, optimize=True)  # [new h, new w, D]
    patches = resized.reshape(1, -1, dim).astype(embedding.dtype)
    return np.concatenate([embedding[:, :extra], patches], axis=1)


def _weights(old: int, new: int) -> NDArray[np.float64]:
    """Return [new, old]: what each old place gives to each new one; places beyond the edge are the edge's."""
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centers).astype(int)
    weights = np.zeros((new, old))
    for step in (-1, 0, 1, 2):
        places = np.clip(first + step, 0, old - 1)
        np.add.at(weights, (np.arange(new), places), _cubic(np.abs(centers - first - step)))
    return weights


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
