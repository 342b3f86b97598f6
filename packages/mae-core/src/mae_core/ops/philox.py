"""Philox 4x32-10, the counter-based generator behind every mask (Salmon et al., SC 2011).

A mask is a function of (seed, epoch, sample index) and of nothing else: any device, any rank and a
resumed run draw the same one, and it can be recomputed later.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int], rounds: int = 10) -> NDArray[np.uint64]:
    """Run Philox on counters.

    Args:
        counter: uint64 [4, ...], 32-bit words.
        key: two 32-bit words.

    Returns:
        uint64 [4, ...] of 32-bit random words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _HALF) ^ c3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def masking_noise(seed: int, epoch: int, indices: ArrayLike, length: int) -> NDArray[np.float32]:
    """Draw the masking noise of some samples.

    Patch i of a sample takes word i % 4 of the block with counter (i // 4, index low, index high, epoch)
    and key (seed low, seed high); its upper 24 bits become a float in [0, 1).

    Args:
        seed: 64-bit seed of the run.
        epoch: epoch number, 32 bits.
        indices: int64 [N], sample numbers within the data set.
        length: patches L.

    Returns:
        float32 [N, L] in [0, 1).
    """
    block = np.arange((length + 3) // 4, dtype=np.uint64)[None]  # [1, B]
    bits = _bits(seed, epoch, np.asarray(indices)[:, None], block)  # [4, N, B]
    bits = bits.transpose(1, 2, 0).reshape(bits.shape[1], -1)[:, :length]  # [N, L]
    return (bits >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)


def draw_words(seed: int, epoch: int, indices: ArrayLike, block: int) -> NDArray[np.float64]:
    """Draw the four words of one block of some samples -> float64 [4, N] in [0, 1); see `masking_noise`."""
    return np.ldexp(_bits(seed, epoch, np.asarray(indices), np.uint64(block)).astype(np.float64), -32)


def _bits(
    seed: int, epoch: int, indices: NDArray[np.int64], block: NDArray[np.uint64] | np.uint64
) -> NDArray[np.uint64]:
    """Run Philox with counter (block, index low, index high, epoch) and key (seed low, seed high)."""
    index = indices.astype(np.uint64)
    words = np.broadcast_arrays(block, index & _LOW, index >> _HALF, np.uint64(epoch & 0xFFFFFFFF))
    return philox4x32(np.stack(words), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
