"""Masking, loss, products of rounded operands as plain Paddle operations: what the fused operators must agree with."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import paddle
from paddle import Tensor
from paddle.autograd import PyLayer, PyLayerContext
from paddle.nn import functional as F

from mae_core.epsilons import NORM_PIX_EPS
from mae_core.ops.patches import Pixels, normalize_patches


class Masking(NamedTuple):
    """Which patches are kept and which removed; the four parts agree with each other."""

    ids_keep: Tensor  # int64 [N, K], in the order of their noise
    ids_remove: Tensor  # int64 [N, L - K], in the order of their noise
    ids_restore: Tensor  # int64 [N, L], where patch i stands in [keep, remove]
    mask: Tensor  # float32 [N, L], 0 keep, 1 remove


def stable_argsort(x: Tensor) -> Tensor:
    """Sort the last axis of [N, L]; equal values keep their order on every device and Paddle version."""
    try:
        return paddle.argsort(x, axis=-1, stable=True)
    except TypeError:  # Paddle 2.6 has no stable sort: rank first, then sort unique integer keys
        length = x.shape[-1]
        if paddle.in_dynamic_mode():
            rank = paddle.searchsorted(paddle.sort(x, axis=-1), x)  # [N, L], equal for equal values
        else:  # a graph may become ONNX, which has no searchsorted
            rank = (x.unsqueeze(-2) < x.unsqueeze(-1)).astype("int64").sum(axis=-1)
        return paddle.argsort(rank * length + paddle.arange(length), axis=-1)


def masking_from_noise(noise: Tensor, len_keep: int) -> Masking:
    """Keep the `len_keep` patches of smallest noise [N, L]; ties go to the smaller patch number."""
    ids_shuffle = stable_argsort(noise)  # [N, L]
    ids_restore = paddle.argsort(ids_shuffle, axis=-1)  # [N, L], a permutation has no ties
    mask = (ids_restore >= len_keep).astype("float32")
    return Masking(ids_shuffle[:, :len_keep], ids_shuffle[:, len_keep:], ids_restore, mask)


def batch_size(x: Tensor) -> int | Tensor:
    """Return N of [N, ...]: a tensor in a static graph that takes any N."""
    return x.shape[0] if x.shape[0] >= 0 else paddle.shape(x)[0]


def take_rows(x: Tensor, ids: Tensor) -> Tensor:
    """Gather rows of each sample: x [N, L, D], ids [N, K] -> [N, K, D]."""
    rows, length, dim = batch_size(ids), x.shape[1], x.shape[2]
    start = paddle.arange(rows, dtype=ids.dtype).unsqueeze(1) * length  # [N, 1]
    return paddle.gather(x.reshape([-1, dim]), (ids + start).flatten()).reshape([-1, ids.shape[1], dim])


def random_masking(x: Tensor, noise: Tensor, len_keep: int, pixels: Pixels | None) -> tuple[Tensor, Masking]:
    """Mask tokens [N, L, D], or images where `pixels` is given; see `mae_core.ops.random_masking`."""
    masking = masking_from_noise(noise, len_keep)
    if pixels is None:
        return take_rows(x, masking.ids_keep), masking
    return normalize_patches(take_rows(pixels.patchify(x), masking.ids_keep), pixels), masking


def patch_targets(patches: Tensor, norm_pix: bool) -> Tensor:
    """Turn normalised pixels into what the decoder predicts (paper section 3, "Reconstruction target").

    Args:
        patches: float32 [..., p*p*C].
        norm_pix: normalise each patch by its own mean and unbiased variance (epsilon 1e-6).
    """
    if not norm_pix:
        return patches
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [..., 1] of each patch [..., p*p*C], from the unbiased variance plus an epsilon."""
    # From the first value on: of a flat patch the mean is that value exactly, whose rounding would be divided by 1e-3.
    first = patches[..., :1]
    mean = first + (patches - first).mean(axis=-1, keepdim=True)
    squared = ((patches - mean) ** 2).sum(axis=-1, keepdim=True)
    variance = squared / float(patches.shape[-1] - 1)  # the bits of paddle.var, which warns of types of its own
    return mean, (variance + NORM_PIX_EPS).sqrt()


def masked_pixel_loss(
    pred: Tensor, images: Tensor, ids_remove: Tensor, pixels: Pixels, norm_pix: bool, weights: Tensor | None = None
) -> Tensor:
    """Score predicted patches against images; see `mae_core.ops.masked_pixel_loss`."""
    with paddle.no_grad():
        removed = take_rows(pixels.patchify(images), ids_remove)
        target = patch_targets(normalize_patches(removed, pixels).astype("float32"), norm_pix)
    squared = (pred.astype("float32") - target).square()
    if weights is None:
        return squared.mean()
    return (squared.mean(axis=-1) * weights).sum() / weights.sum().clip(min=1.0)


def rounded(x: Tensor) -> Tensor:
    """Round float32 [...] to the nearest value that bfloat16 has, halves to even; it stays float32."""
    if not paddle.__version__.startswith("2."):
        return x.astype("bfloat16").astype("float32")
    values: npt.NDArray[np.float32] = x.numpy()  # a cast cuts bits off in Paddle 2.6
    bits = values.view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return paddle.to_tensor(np.where(np.isnan(values), values, nearest.view(np.float32)))


class _Stored(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor) -> Tensor:
        return rounded(x)

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> Tensor:
        return grad


def stored(x: Tensor) -> Tensor:
    """Round float32 [...] as `rounded` does; the gradient passes as it is."""
    return _Stored.apply(x)


class _RoundedLinear(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor, weight: Tensor) -> Tensor:
        operands = rounded(x), rounded(weight)
        ctx.save_for_backward(*operands)
        return F.linear(*operands)

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensor()
        grad = rounded(grad)
        rows = grad.reshape([-1, grad.shape[-1]])  # [N*L, D_out]
        return F.linear(grad, weight.t()), paddle.matmul(x.reshape([-1, x.shape[-1]]), rows, transpose_x=True)


def rounded_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply x [..., D_in] by weight [D_in, D_out] and add bias [D_out]; operands are rounded to bfloat16.

    The gradients are those of the product with the gradient rounded, too, before it is multiplied.
    """
    out = _RoundedLinear.apply(x, weight)
    return out if bias is None else out + bias
