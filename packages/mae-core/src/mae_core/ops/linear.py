"""The linear layer of all models: Xavier-uniform weight, zero bias, and a bias gradient that is a matrix product.

Paddle's CPU build sums the bias gradient with a slow reduction (2 to 20 ms where BLAS takes 0.02 to 0.08;
a sixth of a training step). The values differ by rounding only. On a GPU, in static graphs and without
gradients the stock operation runs. Inside `products.in_bfloat16()` products round their operands.
"""

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer, PyLayerContext
from paddle.nn import functional as F

from mae_core.ops import products


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
