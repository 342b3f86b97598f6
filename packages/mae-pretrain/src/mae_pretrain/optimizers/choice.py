"""The optimizers that TRAIN.OPTIMIZER.NAME chooses from."""

from collections.abc import Callable

from paddle import nn
from paddle.optimizer import Optimizer

from mae_core.stage.config.node import Config
from mae_core.training.optim import build_adamw
from mae_pretrain.optimizers.muon import build_muon


def _adamw(model: nn.Layer, train: Config) -> Optimizer:
    """Build AdamW of Table 8; without layer decay, PaddleNLP's AdamWDL takes the same steps."""
    o = train.OPTIMIZER
    return build_adamw(model, weight_decay=train.WEIGHT_DECAY, betas=o.BETAS, eps=o.EPS)


def _muon(model: nn.Layer, train: Config) -> Optimizer:
    o = train.OPTIMIZER
    return build_muon(model, weight_decay=train.WEIGHT_DECAY, betas=o.BETAS, eps=o.EPS)


# Each takes the model and the config's TRAIN, and starts at a learning rate of 0: the loop sets it before each step.
BUILDERS: dict[str, Callable[[nn.Layer, Config], Optimizer]] = {"AdamW": _adamw, "AdamWDL": _adamw, "Muon": _muon}


def build_optimizer(model: nn.Layer, train: Config) -> Optimizer:
    """Build the optimizer of a config's TRAIN section over the trainable parameters."""
    return BUILDERS[train.OPTIMIZER.NAME](model, train)
