"""Layer norm, whose gradient is an operator of its own on the CPU: Paddle's takes ten times as long there.

On a GPU, in static graphs, in other dtypes and with `MAE_CORE_OPS=reference` the stock operation runs.
"""

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer, PyLayerContext

from mae_core.ops import fused
from mae_core.ops.transformer_block import is_fused


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
