"""One trained token for many places, whose gradient on the CPU is a matrix product, as that of `Linear`'s bias is.

Paddle's CPU build sums it with a slow reduction: 1 ms in a step of 70. The values differ by rounding only. On a GPU,
in static graphs, in other dtypes and with `MAE_CORE_OPS=reference` the stock operation runs.
"""

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer, PyLayerContext

from mae_core.ops.transformer_block import is_fused


def add_token(token: Tensor, positions: Tensor) -> Tensor:
    """Add a token [1, 1, D] to positions [N, L, D], which take no gradient."""
    trains = paddle.is_grad_enabled() and not token.stop_gradient and positions.stop_gradient
    return _AddTokenCPU.apply(token, positions) if trains and is_fused(positions) else token + positions


class _AddTokenCPU(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, token: Tensor, positions: Tensor) -> Tensor:
        return token + positions

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> tuple[Tensor, None]:
        rows = grad.reshape([-1, grad.shape[-1]])  # [N L, D]
        return paddle.matmul(paddle.ones([1, rows.shape[0]], dtype=rows.dtype), rows).unsqueeze(0), None
