"""Random masking (paper section 3, "Masking"): draw which patches are removed, gather those that stay."""

from typing import NamedTuple, TypeAlias

import numpy as np
import paddle
from paddle import Tensor

from mae_core.ops import fused, reference
from mae_core.ops.patches import Pixels, is_float
from mae_core.ops.philox import masking_noise
from mae_core.ops.reference import Masking, batch_size


class MaskKey(NamedTuple):
    """Instead of noise: what the mask of each sample is a function of (see `philox.masking_noise`)."""

    seed: int  # 64 bits
    epoch: int  # 32 bits
    index: Tensor  # int64 [N], sample numbers


Noise: TypeAlias = Tensor | MaskKey

# The functions here run as they are while a static graph is built: sizes of -1 are those known at run time only.


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


@paddle.jit.not_to_static
def random_masking(
    x: Tensor,
    mask_ratio: float = 0.75,
    *,
    noise: Noise | None = None,
    mask: Tensor | None = None,
    pixels: Pixels | None = None,
) -> tuple[Tensor, Masking]:
    """Remove random patches and gather those that stay, in one pass where the fused operator is built.

    Args:
        x: tokens [N, L, D] (float32, float16, bfloat16; differentiable), or, with `pixels`, images: as stored
            [N, H, W, C], normalised on the way, or normalised [N, C, H, W]; see `Pixels`.
        mask_ratio: share of patches to remove, in [0, 1).
        noise: float32 [N, L], the patches of smallest noise stay, ties by patch number; or a `MaskKey`,
            for which the noise is drawn by Philox. None draws from Paddle's generator.
        mask: bool or 0/1 [N, L], 1 = remove, instead of ratio and noise; every sample removes as many.
        pixels: patch size, scale and shift: x are images.

    Returns:
        visible: [N, K, D] tokens, or [N, K, p*p*C] pixels (float32 of images as stored), in the order of their noise.
        masking: int64 ids and the float32 mask (0 keep, 1 remove).

    Raises:
        ValueError: shapes, ratio, noise or mask do not fit.
    """
    length = _length(x, pixels)
    noise, keep = _noise_and_keep(x, length, mask_ratio, noise, mask)
    if _is_fused(x, keep < length, pixels):
        return _fused(x, noise, keep, pixels)
    return reference.random_masking(x, as_tensor(noise, length), keep, pixels)


@paddle.jit.not_to_static
def draw_masking(noise: Noise, mask_ratio: float = 0.75, length: int | None = None) -> Masking:
    """Draw a mask alone; `length` is L, needed for a `MaskKey` only."""
    if isinstance(noise, MaskKey):
        if length is None:
            raise ValueError("a MaskKey does not say how many patches there are; give length=L")
    else:
        _check_noise(noise, length)
        length = noise.shape[1]
    keep = len_keep(length, mask_ratio)
    if fused.in_use() and keep < length:
        draw, seed, epoch = _draw(noise)
        attrs = {"length": length, "keep": keep, "seed": seed, "epoch": epoch}
        return Masking(*fused.call("mae_mask", {"draw": draw}, attrs))
    return reference.masking_from_noise(as_tensor(noise, length), keep)


def _length(x: Tensor, pixels: Pixels | None) -> int:
    """Check the shape of tokens or images and return L."""
    if pixels is None:
        if x.ndim != 3 or x.shape[1] < 1:
            raise ValueError(f"tokens have shape {list(x.shape)}; [N, L, D] with L >= 1 is needed")
        return int(x.shape[1])
    p, chans = pixels.patch_size, pixels.scale.shape[0]
    order = (1, 2, 3) if pixels.are_stored(x) else (2, 3, 1)
    sides = [x.shape[i] for i in order] if x.ndim == 4 else [0, 0, 0]
    if sides[2] != chans or min(sides) < 1 or sides[0] % p or sides[1] % p:
        raise ValueError(
            f"images have shape {list(x.shape)} ({x.dtype}); [N, H, W, C] as stored or normalised [N, C, H, W] with"
            f" C = {chans} and H and W multiples of {p} are needed"
        )
    return int(sides[0] // p * (sides[1] // p))


def _noise_and_keep(
    x: Tensor, length: int, mask_ratio: float, noise: Noise | None, mask: Tensor | None
) -> tuple[Noise, int]:
    if mask is not None:
        _check_shape("mask", mask, x, length)
        removed = _count_removed(mask)
        return mask.astype("float32"), length - removed
    keep = len_keep(length, mask_ratio)
    if noise is None:
        return paddle.rand([batch_size(x), length], dtype="float32"), keep
    if isinstance(noise, MaskKey):
        if list(noise.index.shape) != [x.shape[0]]:
            raise ValueError(f"{list(noise.index.shape)} sample numbers for {x.shape[0]} samples; one each is needed")
        return noise, keep
    _check_noise(noise, length)
    _check_shape("noise", noise, x, length)
    return noise, keep


def _check_noise(noise: Tensor, length: int | None) -> None:
    _check_tensor("noise", noise)
    if noise.ndim != 2 or noise.shape[1] < 1 or length not in (None, noise.shape[1]):
        raise ValueError(f"noise has shape {list(noise.shape)}; [N, L] with L >= 1 is needed")


def _check_tensor(what: str, given: Tensor) -> None:
    if isinstance(given, np.ndarray | list | tuple):
        raise TypeError(f"{what} is a {type(given).__name__}, a tensor is needed: paddle.to_tensor({what})")


def _check_shape(what: str, given: Tensor, x: Tensor, length: int) -> None:
    _check_tensor(what, given)
    expected = [x.shape[0], length]
    if given.ndim != 2 or any(a != b for a, b in zip(given.shape, expected, strict=True) if a >= 0 and b >= 0):
        raise ValueError(f"{what} has shape {list(given.shape)}; [N, L] = {expected} is needed")


def _count_removed(mask: Tensor) -> int:
    removed = mask.astype("int64").sum(axis=1)
    low, high = int(removed.min()), int(removed.max())
    if low != high:
        raise ValueError(f"mask removes {low} to {high} patches per sample; all samples must remove the same number")
    if low >= mask.shape[1]:
        raise ValueError(f"mask removes all {low} patches; at least one must stay visible")
    return low


def _is_fused(x: Tensor, removes: bool, pixels: Pixels | None) -> bool:
    # Paddle 2.6 has no empty outputs, so a mask that removes nothing takes the plain operations.
    if not fused.in_use() or not removes or x.shape[0] == 0 or x.dtype not in fused.DTYPES:
        return False
    # Gradients of pixels are rare (attributions); the plain operations have them.
    if pixels is None:
        return is_float(x)
    return x.stop_gradient and (x.dtype == paddle.float32 or not pixels.stored_floats)


def _fused(x: Tensor, noise: Noise, keep: int, pixels: Pixels | None) -> tuple[Tensor, Masking]:
    draw, seed, epoch = _draw(noise)
    attrs = {"keep": keep, "seed": seed, "epoch": epoch}
    if pixels is None:
        visible, *parts = fused.call("mae_mask_tokens", {"x": fused.dense(x), "draw": draw}, attrs)
    else:
        attrs = {"patch": pixels.patch_size, **attrs, "stored": pixels.are_stored(x)}
        inputs = {"image": fused.dense(x), "scale": pixels.scale, "shift": pixels.shift, "draw": draw}
        visible, *parts = fused.call("mae_mask_image", inputs, attrs)
    return visible, Masking(*parts)


def _draw(noise: Noise) -> tuple[Tensor, int, int]:
    """What the operators take: noise or sample numbers, seed and epoch (as signed 64-bit numbers)."""
    if isinstance(noise, MaskKey):
        seed = noise.seed - 2**64 if noise.seed >= 2**63 else noise.seed
        return fused.dense(noise.index), seed, noise.epoch & 0xFFFFFFFF
    return fused.dense(noise.astype("float32")), 0, 0


def as_tensor(noise: Noise, length: int) -> Tensor:
    """Return noise as float32 [N, L], drawn where it is a key."""
    if isinstance(noise, MaskKey):
        return paddle.to_tensor(masking_noise(noise.seed, noise.epoch, noise.index.numpy(), length))
    return noise
