"""The optimizers of fine-tuning, by the name that TRAIN.OPTIMIZER.NAME gives them: all with layer-wise rates."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from paddle import nn
from paddle.optimizer import Optimizer

from mae_core.process import log
from mae_core.training.optim import build_adamw, trainable
from mae_finetune.layer_decay import decays, layer_scales


def _adamw(model: nn.Layer, *, layer_decay: float, **settings: Any) -> Optimizer:
    scales = layer_scales(model, layer_decay)
    # One flat list with a factor per parameter: the same steps as a group per layer, and faster.
    for name, parameter in trainable(model):
        parameter.optimize_attr["learning_rate"] = scales[name]
    return build_adamw(model, decays=decays, **settings)


def _adamwdl(model: nn.Layer, *, layer_decay: float, **settings: Any) -> Optimizer:
    if find_spec("paddlenlp") is None:
        log.LOGGER.info(
            "TRAIN.OPTIMIZER.NAME=AdamWDL: PaddleNLP is not installed; AdamW with a rate for each layer takes its"
            " place, with the same steps"
        )
        return _adamw(model, layer_decay=layer_decay, **settings)
    from mae_finetune.adamwdl import build_adamwdl

    scales = layer_scales(model, layer_decay)
    return build_adamwdl(model, scales, layer_decay=layer_decay, decays=decays, **settings)


# Each takes the model and all settings of `build_optimizer`, and starts at a learning rate of 0: the loop sets it.
BUILDERS: dict[str, Callable[..., Optimizer]] = {"AdamW": _adamw, "AdamWDL": _adamwdl}


def build_optimizer(
    model: nn.Layer,
    *,
    name: str = "AdamW",
    weight_decay: float = 0.05,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    layer_decay: float = 1.0,
) -> Optimizer:
    """Build the optimizer over the trainable parameters; the learning rate is set before each step.

    Args:
        name: one of BUILDERS: "AdamW", or "AdamWDL" for PaddleNLP's (extra `paddlenlp`).
        layer_decay: factor from one layer to the one below; 1 for none.
    """
    return BUILDERS[name](model, weight_decay=weight_decay, betas=betas, eps=eps, layer_decay=layer_decay)
