"""Layers whose gradients Paddle's CPU build computes slowly: linear, layer norm, and a token added to many places.

Paddle's CPU build sums rows with a slow reduction (2 to 20 ms where BLAS takes 0.02 to 0.08; a sixth of a training
step), so the gradients of a bias and of the token are matrix products here; its gradient of a layer norm takes ten
times as long as the operator of this package. The values differ by rounding only. On a GPU, in static graphs, in other
dtypes, without gradients and, but for `Linear`, with `MAE_CORE_OPS=reference` the stock operations run. Inside
`products.in_bfloat16()` the products of `Linear` round their operands.
"""

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer, PyLayerContext
from paddle.nn import functional as F

from mae_core.ops import fused, products
from mae_core.ops.transformer_block import is_fused


class _LinearCPU(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensor()
        rows = grad.reshape([-1, grad.shape[-1]])  # [N*L, D]
        grad_weight = paddle.matmul(x.reshape([-1, x.shape[-1]]), rows, transpose_x=True)
        grad_bias = paddle.matmul(paddle.ones([1, rows.shape[0]], dtype=rows.dtype), rows).flatten()
        grad_x = None if x.stop_gradient else paddle.matmul(grad, weight, transpose_y=True)
        return grad_x, grad_weight, grad_bias


class Linear(nn.Linear):
    """Linear layer, x [..., D_in] -> [..., D_out] (init: paper section A.1)."""

    def __init__(self, dim_in: int, dim_out: int, bias: bool = True) -> None:
        xavier = paddle.ParamAttr(initializer=nn.initializer.XavierUniform())
        super().__init__(dim_in, dim_out, weight_attr=xavier, bias_attr=None if bias else False)

    def forward(self, x: Tensor) -> Tensor:
        if products.rounds(x):
            return products.linear(x, self.weight, self.bias)
        trains_on_cpu = (
            paddle.in_dynamic_mode()
            and paddle.is_grad_enabled()
            and self.bias is not None
            and not (self.weight.stop_gradient or self.bias.stop_gradient)
            and self.weight.place.is_cpu_place()
        )
        return _LinearCPU.apply(x, self.weight, self.bias) if trains_on_cpu else F.linear(x, self.weight, self.bias)


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis, x [..., D] -> [..., D]; within 1e-6 of the largest value from the stock one."""

    def forward(self, x: Tensor) -> Tensor:
        if not is_fused(x):
            return super().forward(x)
        if paddle.is_grad_enabled():
            return _LayerNormCPU.apply(x, self.weight, self.bias, epsilon=self._epsilon)
        return _run(fused.dense(x), self.weight, self.bias, self._epsilon)[0]


def _run(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> list[Tensor]:
    return fused.call("mae_norm", {"x": x, "weight": weight, "bias": bias}, {"epsilon": epsilon})


class _LayerNormCPU(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float) -> Tensor:
        x = fused.dense(x)
        out, mean, inverse = _run(x, weight, bias, epsilon)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.wanted = [not t.stop_gradient for t in (x, weight, bias)]
        return out

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        if paddle.is_grad_enabled():
            raise RuntimeError(
                "the fused layer norm has no second derivative; set MAE_CORE_OPS=reference for create_graph=True"
            )
        x, weight, mean, inverse = ctx.saved_tensor()
        inputs = {"x": x, "weight": weight, "mean": mean, "inverse": inverse, "grad": fused.dense(grad)}
        grads = fused.call("mae_norm_backward", inputs, {})
        return tuple(g if is_wanted else None for g, is_wanted in zip(grads, ctx.wanted, strict=True))


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
