"""A whole transformer block as one operator on the CPU; `models.transformer.Block` is its definition.

Between its matrix products a block of Paddle operations spends a third of its time in layer norms, GELU, softmax,
transposes and additions. The operator fuses these and keeps less for the backward pass: no copy of q, k and v, no
attention weights, and neither normalised tokens nor GELU's result, which it computes again.
"""

from typing import Any, NamedTuple

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer, PyLayerContext

from mae_core.errors import ConfigError
from mae_core.ops import fused, products


class BlockParameters(NamedTuple):
    """Parameters of a block; linear weights are [in, out]."""

    norm1_weight: Tensor
    norm1_bias: Tensor
    qkv_weight: Tensor  # [D, 3 D]
    qkv_bias: Tensor | None
    proj_weight: Tensor
    proj_bias: Tensor
    norm2_weight: Tensor
    norm2_bias: Tensor
    fc1_weight: Tensor  # [D, H]
    fc1_bias: Tensor
    fc2_weight: Tensor  # [H, D]
    fc2_bias: Tensor


@paddle.jit.not_to_static
def is_fused(x: Tensor) -> bool:
    """Return whether the operator takes these tokens; in a static graph and on a GPU Paddle's own operations run.

    Raises:
        ConfigError: MAE_CORE_OPS=fused where no library for matrix products is found.
    """
    if not (
        fused.in_use()
        and paddle.in_dynamic_mode()
        and x.dtype == paddle.float32
        and x.place.is_cpu_place()
        and x.shape[0] > 0
    ):
        return False
    if fused.choice() == "fused" and not fused.gemm_library():
        raise ConfigError(f"MAE_CORE_OPS=fused, but {fused.NO_PRODUCTS}; use auto or reference")
    return fused.gemm_library() is not None


def transformer_block(
    x: Tensor, parameters: BlockParameters, *, num_heads: int, first: int, epsilon: float, scales: Tensor | None = None
) -> Tensor:
    """Run a pre-norm block on the fused operator; ask `is_fused` before.

    Args:
        x: float32 [N, L, D].
        num_heads: divides D.
        first: compute only the tokens from this number on; all are attended to.
        epsilon: of both layer norms.
        scales: float32 [2, N], what the attention's and the MLP's branch of each sample are multiplied by
            (stochastic depth); None for 1.

    Returns:
        float32 [N, L - first, D], within 1e-6 of the largest value from the composition; so are the gradients. Inside
        `products.in_bfloat16()` the four linear layers round their operands, and both are 1e-2 from float32's.

    Raises:
        RuntimeError: from the backward pass, where a gradient of the gradient is asked for.
    """
    weights = [p for p in parameters if p is not None]
    attrs = {
        "heads": num_heads,
        "first": first,
        "epsilon": epsilon,
        "has_qkv_bias": parameters.qkv_bias is not None,
        "has_scales": scales is not None,
    }
    rounds = products.rounds(x)
    if paddle.is_grad_enabled() and not all(t.stop_gradient for t in (x, *weights)):
        return _BlockCPU.apply(x, *weights, scales=scales, rounds=rounds, attrs=attrs)
    return fused.call("mae_block", {"x": fused.dense(x), "tensors": _tensors(weights, scales, rounds)}, attrs)[0]


def _tensors(weights: list[Tensor], scales: Tensor | None, rounds: bool) -> list[Tensor]:
    """List what the operator takes; by the type of the linear layers' weights it knows whether to round."""
    weights = [products.rounded_weight(w) if rounds and w.ndim == 2 else w for w in weights]
    return [*weights, scales] if scales is not None else weights


class _BlockCPU(PyLayer):
    @staticmethod
    def forward(
        ctx: PyLayerContext, x: Tensor, *weights: Tensor, scales: Tensor | None, rounds: bool, attrs: dict[str, Any]
    ) -> Tensor:
        x = fused.dense(x)
        out, *kept = fused.call("mae_block_kept", {"x": x, "tensors": _tensors(list(weights), scales, rounds)}, attrs)
        # Rounded weights are made again: all blocks' would take half of what the weights themselves take.
        ctx.save_for_backward(x, *kept, *weights, *([] if scales is None else [scales]))
        ctx.attrs, ctx.rounds = attrs, rounds
        ctx.wanted = [not w.stop_gradient for w in weights]
        ctx.needs_x = not x.stop_gradient
        return out

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        if paddle.is_grad_enabled():
            raise RuntimeError(
                "the fused transformer block has no second derivative; set MAE_CORE_OPS=reference for create_graph=True"
            )
        x, qkv, attended, middle, hidden, statistics, *weights = ctx.saved_tensor()
        scales = weights.pop() if ctx.attrs["has_scales"] else None
        names = list(BlockParameters._fields)
        if not ctx.attrs["has_qkv_bias"]:
            names.remove("qkv_bias")
        places = [BlockParameters._fields.index(name) for name in names]
        wanted = sum(1 << place for place, is_wanted in zip(places, ctx.wanted, strict=True) if is_wanted)
        inputs = {
            "x": x,
            "qkv": qkv,
            "attended": attended,
            "middle": middle,
            "hidden": hidden,
            "statistics": statistics,
            "grad_out": fused.dense(grad),
            "tensors": _tensors(weights, scales, ctx.rounds),
        }
        grad_x, *grads = fused.call("mae_block_backward", inputs, {**ctx.attrs, "wanted": wanted})
        given = [grads[place] if is_wanted else None for place, is_wanted in zip(places, ctx.wanted, strict=True)]
        return (grad_x if ctx.needs_x else None, *given)
