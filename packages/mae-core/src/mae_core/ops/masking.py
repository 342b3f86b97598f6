"""Masking strategies: from the key of a batch's masks to what `random_masking` takes as noise.

Every strategy removes the same number of patches from each sample, `L - len_keep(L, mask_ratio)`, and is a function of
(seed, epoch, sample index). Add one to STRATEGIES to offer it as MASKING of pre-training.
"""

from collections.abc import Callable

import numpy as np
import paddle
from numpy.typing import ArrayLike, NDArray
from paddle import Tensor

from mae_core.ops.philox import draw_words
from mae_core.ops.random_masking import MaskKey, Noise, as_tensor, len_keep

Grid = tuple[int, int]
_LEAST_AREA = 16  # patches of a block, at least, on the paper's 14 x 14
_LEAST_SHARE = 12  # on smaller grids: no block needs more than this part of the patches
_LEAST_ASPECT = 0.3  # height over width lies between this and its reciprocal
_MOST_BLOCKS = 1000  # fewer than a hundred make 90 %; what is missing after so many comes from the end of the grid
_FIRST_COUNTER = 1 << 31  # random masking's counters are patch numbers: these words are others


def random_patches(key: MaskKey, grid: Grid, mask_ratio: float) -> Noise:
    """Remove patches one by one (the paper's choice); the operator draws from the key itself."""
    return key


def blocks(key: MaskKey, grid: Grid, mask_ratio: float) -> Noise:
    """Remove rectangles of patches; see `block_noise`."""
    length = grid[0] * grid[1]
    removed = length - len_keep(length, mask_ratio)
    return paddle.to_tensor(block_noise(key.seed, key.epoch, key.index.numpy(), grid, removed))


def last_without_data(noise: Noise | None, valid: Tensor) -> Tensor:
    """Rank patches that are not `valid` behind all others, so that they are the first to be removed.

    Args:
        noise: as `random_masking` takes it; None draws from Paddle's generator.
        valid: 0/1 [N, L]; where all are 1, the mask is that of the noise itself.

    Returns:
        float32 [N, L], the same function of seed, epoch and sample as before.
    """
    drawn = paddle.rand(valid.shape, dtype="float32") if noise is None else as_tensor(noise, valid.shape[1])
    return drawn + 2.0 * (1.0 - valid.astype("float32"))  # noise lies in [0, 1]


def block_noise(seed: int, epoch: int, indices: ArrayLike, grid: Grid, removed: int) -> NDArray[np.float32]:
    """Draw noise under which exactly `removed` patches, in blocks, are ranked last.

    Block-wise masking (Bao et al., BEiT, arXiv 2106.08254, section 2.3 and Algorithm 1) removes rectangles one after
    the other until enough patches are gone.

    A patch's noise says how early a block covered it: the earlier, the larger; within a block the upper rows count as
    earlier. Patches that no block covers have noise 0. Removing the `removed` patches of largest noise removes all
    blocks but the last whole, and of the last one as many rows (the lowest of them in part) as the count needs. So the
    count is exact, where Algorithm 1 stops at the first block that reaches it, and shapes stay the same in each batch.

    Args:
        seed: 64-bit seed of the run.
        epoch: epoch number, 32 bits.
        indices: int64 [N], sample numbers within the data set.
        grid: rows and columns of patches.
        removed: patches to remove, less than all.

    Returns:
        float32 [N, L] in [0, 1].
    """
    index = np.asarray(indices)
    length = grid[0] * grid[1]
    order = np.full((len(index), length), length)  # by when a patch was covered; `length`: not yet
    covered = np.zeros(len(index), np.int64)
    for block in range(_MOST_BLOCKS):
        rows = np.flatnonzero(covered < removed)
        if rows.size == 0:
            break
        inside = _draw_blocks(seed, epoch, index[rows], block, grid, removed - covered[rows])
        fresh = inside & (order[rows] == length)
        order[rows] = np.where(fresh, covered[rows, None] + fresh.cumsum(axis=1) - 1, order[rows])
        covered[rows] += fresh.sum(axis=1)
    return ((length - order) / length).astype(np.float32)


def _draw_blocks(
    seed: int, epoch: int, index: NDArray[np.int64], block: int, grid: Grid, missing: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Draw one rectangle for each sample -> [N, L], true inside; `missing` [N] patches are still to be removed."""
    words = draw_words(seed, epoch, index, _FIRST_COUNTER + block)  # [4, N] in [0, 1)
    least = max(1, min(_LEAST_AREA, grid[0] * grid[1] // _LEAST_SHARE))
    area = least + words[0] * (np.maximum(missing, least) - least)
    aspect = _LEAST_ASPECT ** (1.0 - 2.0 * words[1])  # log-uniform: as often upright as lying
    height = np.clip(np.rint(np.sqrt(area * aspect)), 1, grid[0])
    width = np.clip(np.rint(np.sqrt(area / aspect)), 1, grid[1])
    top = np.floor(words[2] * (grid[0] - height + 1))
    left = np.floor(words[3] * (grid[1] - width + 1))
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    in_rows = (row >= top[:, None]) & (row < (top + height)[:, None])
    return in_rows & (column >= left[:, None]) & (column < (left + width)[:, None])


STRATEGIES: dict[str, Callable[[MaskKey, Grid, float], Noise]] = {"random": random_patches, "block": blocks}
