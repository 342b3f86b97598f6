"""In what matrix products compute on a CPU: float32, or operands rounded to bfloat16 with sums of float32.

The counterpart of Paddle's `auto_cast`, which does nothing on a CPU. What is computed inside `in_bfloat16()` rounds the
operands of its products, those of its backward pass too, wherever that runs; all other values, weights and gradients
among them, stay float32.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import TypeVar

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer, PyLayerContext

from mae_core.ops import fused, reference

_Result = TypeVar("_Result")


class RoundedWeights:
    """Weights that were rounded once, for computations between which no weight changes.

    Nothing tells of a change: Paddle's `inplace_version` counts neither an optimizer's steps nor `set_state_dict`. So
    whoever knows that weights stay makes one of these, and drops it with that knowledge.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}  # with the weight itself, whose id is free when it is gone

    def of(self, weight: Tensor) -> Tensor:
        """Round a weight, or return what was rounded before."""
        if id(weight) not in self._kept:
            self._kept[id(weight)] = weight, rounded(weight)
        return self._kept[id(weight)][1]


class _EveryTime:
    def of(self, weight: Tensor) -> Tensor:
        return rounded(weight)


# How weights are rounded, or None for float32; one for each thread.
_WEIGHTS: ContextVar[RoundedWeights | _EveryTime | None] = ContextVar("weights", default=None)


@contextmanager
def in_bfloat16(weights: RoundedWeights | None = None) -> Iterator[None]:
    """Round operands to bfloat16 in what is computed inside; only where `why_not` is empty.

    Args:
        weights: keeps what was rounded; None rounds a weight whenever it is used, as training needs it.
    """
    before = _WEIGHTS.set(_EveryTime() if weights is None else weights)
    try:
        yield
    finally:
        _WEIGHTS.reset(before)


@cache
def why_no_bfloat16() -> str:
    """Describe why this machine has no products of bfloat16; empty where it has."""
    if not fused.LOADED:
        return fused.why_not()
    if not ctypes.CDLL(str(fused.library())).mae_bfloat16_products():
        return "the processor (avx512_bf16, amx_bf16) or Paddle's oneDNN has none"
    return ""


def rounds(x: Tensor) -> bool:
    """Return whether products with these values [...] round their operands."""
    return (
        _WEIGHTS.get() is not None and paddle.in_dynamic_mode() and x.dtype == paddle.float32 and x.place.is_cpu_place()
    )


def carried(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """Make a function compute in today's way, wherever it is called; for what runs again in a backward pass."""
    if _WEIGHTS.get() is None:
        return function

    @wraps(function)
    def rounding(*args: Tensor | int) -> _Result:
        with in_bfloat16():
            return function(*args)

    return rounding


def rounded(x: Tensor) -> Tensor:
    """Round float32 [...] to the nearest bfloat16 [...], halves to even."""
    return fused.call("mae_round", {"x": fused.dense(x)}, {})[0]


def stored(x: Tensor) -> Tensor:
    """Round what a block keeps of its products for the backward pass, float32 [...], where products round."""
    return reference.stored(x) if rounds(x) else x


def rounded_weight(weight: Tensor) -> Tensor:
    """Round a weight as the context says; see `in_bfloat16`."""
    return (_WEIGHTS.get() or _EveryTime()).of(weight)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply x [..., D_in] by weight [D_in, D_out] and add bias [D_out], operands rounded -> float32 [..., D_out].

    The gradients' products round the gradient, x and the weight. Equivalent to `reference.rounded_linear`, up to the
    order of sums.
    """
    if not fused.in_use():
        return reference.rounded_linear(x, weight, bias)
    given = (x, weight) if bias is None else (x, weight, bias)
    if paddle.is_grad_enabled() and not all(t.stop_gradient for t in given):
        return _RoundedLinear.apply(*given)
    return _forward(rounded(x), rounded_weight(weight), bias)


def _product(a: Tensor, b: Tensor, *, transposes_a: bool = False, transposes_b: bool = False) -> Tensor:
    attrs = {"transposes_a": transposes_a, "transposes_b": transposes_b}
    return fused.call("mae_product", {"a": a, "b": b}, attrs)[0]


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = _product(_rows(x), weight).reshape([*x.shape[:-1], weight.shape[1]])
    return out if bias is None else out + bias


def _rows(x: Tensor) -> Tensor:
    return x.reshape([-1, x.shape[-1]])  # [N*L, D]


class _RoundedLinear(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        operands = rounded(x), rounded_weight(weight)
        ctx.save_for_backward(*operands)
        ctx.wanted = [not t.stop_gradient for t in (x, weight, *bias)]
        return _forward(*operands, *(bias or (None,)))

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        if paddle.is_grad_enabled():
            raise RuntimeError("products of bfloat16 have no second derivative; leave -amp out for create_graph=True")
        x, weight = ctx.saved_tensor()
        rows = _rows(grad)
        operand = rounded(rows)
        needs_x, needs_weight, needs_bias = (*ctx.wanted, False)[:3]
        grad_x = _product(operand, weight, transposes_b=True).reshape(x.shape) if needs_x else None
        grad_weight = _product(_rows(x), operand, transposes_a=True) if needs_weight else None
        # A product, since Paddle's CPU build sums rows slowly.
        grad_bias = paddle.matmul(paddle.ones([1, rows.shape[0]]), rows).flatten() if needs_bias else None
        return (grad_x, grad_weight, grad_bias)[: len(ctx.wanted)]
