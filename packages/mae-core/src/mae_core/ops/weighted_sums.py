"""Several weighted sums of the same tensors, in one matrix product.

Its backward pass takes the tensors themselves, which the blocks that made them keep anyway, and stacks them again: a
stack that is kept would be a copy of all of them.
"""

from collections.abc import Sequence

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer, PyLayerContext


def weighted_sums(weight: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Sum K tensors M times with different weights.

    Args:
        weight: float32 [K, M].
        tensors: K of one shape.

    Returns:
        M tensors of that shape, float32, or what `auto_cast` makes of a matrix product.
    """
    if paddle.in_dynamic_mode() and paddle.is_grad_enabled():
        return _WeightedSums.apply(weight, *tensors)
    return _sums(weight, tensors)


def _rows(tensors: Sequence[Tensor]) -> Tensor:
    return paddle.stack([t.astype("float32") for t in tensors]).reshape([len(tensors), -1])  # [K, values]


def _sums(weight: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    sums = paddle.matmul(weight, _rows(tensors), transpose_x=True)  # [M, values]
    return [s.reshape(tensors[0].shape) for s in sums.unbind(axis=0)]


class _WeightedSums(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, weight: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weight, *tensors)
        ctx.wanted = [not t.stop_gradient for t in tensors]
        return tuple(_sums(weight, tensors))

    @staticmethod
    def backward(ctx: PyLayerContext, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, *tensors = ctx.saved_tensor()
        rows = _rows(grads)  # [M, values]
        grad_weight = paddle.matmul(_rows(tensors), rows, transpose_y=True)
        back = paddle.matmul(weight, rows).unbind(axis=0)  # K of [values]
        return grad_weight, *(
            g.reshape(t.shape).astype(t.dtype) if wanted else None
            for g, t, wanted in zip(back, tensors, ctx.wanted, strict=True)
        )
