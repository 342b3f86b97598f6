"""Mixed precision: bfloat16 and float16 on GPU; on a CPU bfloat16 in matrix products, where it has them."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from mae_core.errors import ConfigError
from mae_core.ops import products
from mae_core.ops.products import RoundedWeights
from mae_core.training.optim import clip_gradients, grad_norm

DTYPES = ("bfloat16", "float16")


class Precision:
    """Autocast and loss scaling for one run.

    Args:
        amp: whether mixed precision is asked for.
        dtype: "bfloat16" or "float16" (float16 scales the loss).
        info: receives one line on what really runs.

    Raises:
        ConfigError: another dtype, or float16 on a CPU.
    """

    def __init__(self, amp: bool, dtype: str = "bfloat16", info: Callable[[str], None] = lambda line: None) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"AMP dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        on_gpu = paddle.is_compiled_with_cuda() and not paddle.get_device().startswith("cpu")
        if amp and dtype == "float16" and not on_gpu:
            raise ConfigError("AMP_DTYPE=float16 needs a GPU; on a CPU use AMP_DTYPE bfloat16, or leave -amp out")
        self._on_gpu, missing = on_gpu, "" if on_gpu or not amp else products.why_no_bfloat16()
        self.dtype = dtype if amp and not missing else None
        self.scaler = paddle.amp.GradScaler(init_loss_scaling=2.0**16) if self.dtype == "float16" else None
        if missing:
            info(f"precision: float32 (-amp asked for bfloat16: {missing})")
        else:
            info(f"precision: {self.dtype or 'float32'}" + (" in matrix products" if self.dtype and not on_gpu else ""))

    def autocast(self, weights: RoundedWeights | None = None) -> AbstractContextManager[Any]:
        """Return the context for a forward pass.

        Args:
            weights: one object for all forward passes between which no weight changes; spares a CPU to round again.
        """
        if not self.dtype:
            return nullcontext()
        return paddle.amp.auto_cast(level="O1", dtype=self.dtype) if self._on_gpu else products.in_bfloat16(weights)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate, with the loss scaled where float16 needs it."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def update(
        self, optimizer: paddle.optimizer.Optimizer, parameters: Sequence[Tensor], max_norm: float | None
    ) -> float:
        """Clip and apply the gradients, unless their norm is not finite; return the norm before clipping.

        Args:
            parameters: all that are trained.
            max_norm: largest gradient norm, or None.
        """
        if self.scaler:
            self.scaler.unscale_(optimizer)
        norm = grad_norm(parameters)
        value = float(norm)
        finite = math.isfinite(value)
        if finite and max_norm:
            clip_gradients(parameters, max_norm, norm)
        if self.scaler:
            self.scaler.step(optimizer)  # skips by itself what is not finite, and lowers its scale
            self.scaler.update()
        elif finite:
            optimizer.step()
        optimizer.clear_grad()
        return value

    def state_dict(self) -> dict[str, object]:
        """Return the loss scaler's state as plain numbers."""
        state = self.scaler.state_dict() if self.scaler else {}
        return {k: (v.tolist() if hasattr(v, "tolist") else v) for k, v in state.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.scaler and state:
            self.scaler.load_state_dict({**state, "scale": np.asarray(state["scale"], "float32")})
