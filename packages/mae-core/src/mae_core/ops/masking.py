"""Masking strategies: from the key of a batch's masks to what `random_masking` takes as noise.

Every strategy removes the same number of patches from each sample, `L - len_keep(L, mask_ratio)`, and is a function of
(seed, epoch, sample index). Add one to STRATEGIES to offer it as MASKING of pre-training.
"""

from collections.abc import Callable

import paddle

from mae_core.ops.block_masking import block_noise
from mae_core.ops.random_masking import MaskKey, Noise, len_keep

Grid = tuple[int, int]


def random_patches(key: MaskKey, grid: Grid, mask_ratio: float) -> Noise:
    """Remove patches one by one (the paper's choice); the operator draws from the key itself."""
    return key


def blocks(key: MaskKey, grid: Grid, mask_ratio: float) -> Noise:
    """Remove rectangles of patches; see `block_masking.block_noise`."""
    length = grid[0] * grid[1]
    removed = length - len_keep(length, mask_ratio)
    return paddle.to_tensor(block_noise(key.seed, key.epoch, key.index.numpy(), grid, removed))


STRATEGIES: dict[str, Callable[[MaskKey, Grid, float], Noise]] = {"random": random_patches, "block": blocks}
