"""Masking strategies: from the key of a batch's masks to what `random_masking` takes as noise.

Every strategy removes the same number of patches from each sample, `L - len_keep(L, mask_ratio)`, and is a function of
(seed, epoch, sample index). Add one to STRATEGIES to offer it as MASKING of pre-training.
"""

from collections.abc import Callable

import paddle
from paddle import Tensor

from mae_core.ops.block_masking import block_noise
from mae_core.ops.random_masking import MaskKey, Noise, as_tensor, len_keep

Grid = tuple[int, int]


def random_patches(key: MaskKey, grid: Grid, mask_ratio: float) -> Noise:
    """Remove patches one by one (the paper's choice); the operator draws from the key itself."""
    return key


def blocks(key: MaskKey, grid: Grid, mask_ratio: float) -> Noise:
    """Remove rectangles of patches; see `block_masking.block_noise`."""
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


STRATEGIES: dict[str, Callable[[MaskKey, Grid, float], Noise]] = {"random": random_patches, "block": blocks}
