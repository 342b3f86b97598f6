"""The optimizers of probing, by the name that TRAIN.OPTIMIZER.NAME gives them."""

from collections.abc import Callable

from paddle import nn
from paddle.optimizer import Optimizer

from mae_core.stage.config.node import Config
from mae_core.training.optim import trainable
from mae_probe.lars import Lars


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
