"""The optimizers of probing, by the name that TRAIN.OPTIMIZER.NAME gives them: LARS, as MAE's linear probe uses it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.optimizer import Optimizer

from mae_core.stage.config.node import Config
from mae_core.training.optim import trainable

_KIND = "velocity_0"  # named as Paddle names its own accumulators, so checkpoints find the parameter


class Lars(paddle.optimizer.Optimizer):
    """SGD with momentum, each matrix's step scaled by trust * |w| / |g + decay * w|.

    Vectors (biases) are neither scaled nor decayed. The learning rate multiplies the velocity, not what is
    added to it: v <- momentum * v + scaled gradient, w <- w - lr * v.

    Args:
        parameters: what to train.
        momentum: share of the velocity that is kept.
        weight_decay: added to the gradient of matrices, before its norm is taken.
        trust: the trust coefficient.
    """

    def __init__(
        self, parameters: Sequence[Tensor], *, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        super().__init__(learning_rate=0.0, parameters=list(parameters))
        self.trained = list(parameters)
        self.momentum, self.decay, self.trust = momentum, weight_decay, trust
        self.velocity = {p.name: paddle.zeros_like(p) for p in self.trained}

    @paddle.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        lr = self.get_lr()
        for p in self.trained:
            if p.grad is None:
                continue
            velocity = self.momentum * self.velocity[p.name] + self._scaled_gradient(p)
            self.velocity[p.name] = velocity
            p.set_value(p - lr * velocity)

    def _scaled_gradient(self, p: Tensor) -> Tensor:
        if p.ndim < 2:
            return p.grad
        gradient = p.grad + self.decay * p if self.decay else p.grad
        weight_norm, gradient_norm = float(p.norm()), float(gradient.norm())
        if weight_norm == 0.0 or gradient_norm == 0.0:
            return gradient
        return gradient * (self.trust * weight_norm / gradient_norm)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the velocities, each by its parameter's name and kind."""
        return {f"{name}_{_KIND}": value for name, value in self.velocity.items()}

    def set_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.velocity = {name: state_dict[f"{name}_{_KIND}"] for name in self.velocity}


def _lars(model: nn.Layer, train: Config) -> Optimizer:
    """Build LARS of Table 10."""
    o = train.OPTIMIZER
    parameters = [p for _, p in trainable(model)]
    return Lars(parameters, momentum=o.MOMENTUM, weight_decay=train.WEIGHT_DECAY, trust=o.TRUST)


# Each takes the model and the config's TRAIN, and starts at a learning rate of 0: the loop sets it before each step.
BUILDERS: dict[str, Callable[[nn.Layer, Config], Optimizer]] = {"LARS": _lars}


def build_optimizer(model: nn.Layer, train: Config) -> Optimizer:
    """Build the optimizer of a config's TRAIN section over the trainable parameters."""
    return BUILDERS[train.OPTIMIZER.NAME](model, train)
