"""Random masking (paper section 3, "Masking"): draw which patches are removed."""

import paddle
from paddle import Tensor

from mae_core.ops.reference import Masking, masking_from_noise


def len_keep(length: int, mask_ratio: float) -> int:
    """Return how many of L patches stay visible, `int(L * (1 - mask_ratio))`.

    Raises:
        ValueError: mask_ratio is outside [0, 1) or leaves no patch visible.
    """
    if not 0.0 <= mask_ratio < 1.0:
        raise ValueError(f"mask_ratio={mask_ratio} is outside [0, 1); 0.75 is the paper's value")
    keep = int(length * (1 - mask_ratio))
    if keep < 1:
        raise ValueError(f"mask_ratio={mask_ratio} leaves none of {length} patches visible; use a smaller ratio")
    return keep


def random_masking(noise: Tensor, mask_ratio: float = 0.75) -> Masking:
    """Draw a mask from uniform noise.

    Args:
        noise: float32 [N, L]; the patches of smallest noise are kept, ties by patch number.
        mask_ratio: share of patches to remove, in [0, 1).

    Returns:
        Masking of int64 ids and a float32 mask (0 keep, 1 remove).

    Raises:
        ValueError: the ratio cannot be used or the noise is not [N, L] with L >= 1.
    """
    if noise.ndim != 2 or noise.shape[1] < 1:
        raise ValueError(f"noise has shape {list(noise.shape)}; [N, L] with L >= 1 is needed")
    return masking_from_noise(noise, len_keep(noise.shape[1], mask_ratio))


def masking_from_mask(mask: Tensor) -> Masking:
    """Use a mask of the caller's own.

    Args:
        mask: bool or 0/1 [N, L], 1 = remove; every sample removes the same number of patches.

    Raises:
        ValueError: samples remove different numbers, or none is kept.
    """
    removed = mask.astype("int64").sum(axis=1)
    low, high = int(removed.min()), int(removed.max())
    if low != high:
        raise ValueError(f"mask removes {low} to {high} patches a sample; all samples must remove the same number")
    if low >= mask.shape[1]:
        raise ValueError(f"mask removes all {low} patches; at least one must stay visible")
    return masking_from_noise(mask.astype("float32"), mask.shape[1] - low)


def uniform_noise(rows: int, length: int) -> Tensor:
    """Draw noise [N, L] from Paddle's global generator; `philox.masking_noise` is the reproducible one."""
    return paddle.rand([rows, length], dtype="float32")
