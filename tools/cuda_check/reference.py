"""What the kernels must compute, in NumPy."""

import importlib.util
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cuda_check.build import CSRC

Array = NDArray[Any]

_SPEC = importlib.util.spec_from_file_location("philox", CSRC.parent / "src" / "mae_core" / "ops" / "philox.py")
assert _SPEC is not None
assert _SPEC.loader is not None
philox = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(philox)  # by path: importing mae_core would import Paddle


class Masking(NamedTuple):
    """See mae_core.ops.reference.Masking."""

    ids_keep: Array
    ids_remove: Array
    ids_restore: Array
    mask: Array


def masking_from_noise(noise: Array, keep: int) -> Masking:
    """Keep the patches of smallest noise [N, L], ties by patch number."""
    order = np.argsort(noise, axis=1, kind="stable")
    restore = np.argsort(order, axis=1, kind="stable")
    return Masking(order[:, :keep], order[:, keep:], restore, (restore >= keep).astype(np.float32))


def take_rows(x: Array, ids: Array) -> Array:
    """Gather rows of each sample: x [N, L, D], ids [N, K] -> [N, K, D]."""
    return np.take_along_axis(x, ids[:, :, None], axis=1)


def put_rows(rows: Array, restore: Array) -> Array:
    """Put kept rows [N, K, D] back in place, [N, L, D], zero elsewhere."""
    padding = np.zeros((rows.shape[0], restore.shape[1] - rows.shape[1], rows.shape[2]), rows.dtype)
    return take_rows(np.concatenate([rows, padding], axis=1), restore)


def patchify(images: Array, p: int) -> Array:
    """Cut [N, H, W, C] into [N, L, p*p*C] in the order (row, column, channel)."""
    n, height, width, chans = images.shape
    grid = images.reshape(n, height // p, p, width // p, p, chans).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(n, (height // p) * (width // p), p * p * chans)


def normalize(images: Array, scale: Array, shift: Array) -> Array:
    """Turn pixels [N, H, W, C] as stored into float32 with one rounding, as a fused multiply-add does.

    Their values have up to 16 bits: times 24 bits plus 24 bits of a like magnitude, float64 holds it without rounding.
    """
    exact = images.astype(np.float64) * scale.astype(np.float64) + shift.astype(np.float64)
    return exact.astype(np.float32)


def patch_targets(patches: Array, norm_pix: bool) -> Array:
    """Turn normalised patches [..., P] into what the decoder predicts, in float64."""
    values = patches.astype(np.float64)
    if not norm_pix:
        return values
    mean = values.mean(axis=-1, keepdims=True)
    variance = values.var(axis=-1, keepdims=True, ddof=1)
    return (values - mean) / np.sqrt(variance + 1.0e-6)


def to_bfloat16(values: Array) -> Array:
    """Round float32 to bfloat16, nearest even, as uint16 bits; NaN-free input."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: Array) -> Array:
    """Widen bfloat16 bits (uint16) to float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def encode(values: Array, dtype: str) -> Array:
    """Round float32 to a type named as in NumPy; bfloat16 as its uint16 bits."""
    return to_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)


def decode(stored: Array, dtype: str) -> Array:
    """Widen what `encode` made to float32."""
    return from_bfloat16(stored) if dtype == "bfloat16" else stored.astype(np.float32)
