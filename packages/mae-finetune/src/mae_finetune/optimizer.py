"""The optimizer of fine-tuning: AdamW with layer-wise learning rates, of Paddle or of PaddleNLP."""

from collections.abc import Sequence

import paddle
from paddle import nn

from mae_core.training.optim import build_adamw, trainable
from mae_finetune.layer_decay import decays, layer_scales


def build_optimizer(
    model: nn.Layer,
    *,
    name: str = "AdamW",
    weight_decay: float = 0.05,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    layer_decay: float = 1.0,
) -> paddle.optimizer.AdamW:
    """Build the optimizer over the trainable parameters; the learning rate is set before each step.

    Args:
        name: "AdamW", or "AdamWDL" for PaddleNLP's (extra `paddlenlp`).
        layer_decay: factor from one layer to the one below; 1 for none.
    """
    scales = layer_scales(model, layer_decay)
    if name == "AdamWDL":
        from mae_finetune.adamwdl import build_adamwdl

        return build_adamwdl(
            model, scales, weight_decay=weight_decay, betas=betas, eps=eps, layer_decay=layer_decay, decays=decays
        )
    # One flat list with a factor a parameter: the same steps as a group a layer, and faster.
    for parameter_name, parameter in trainable(model):
        parameter.optimize_attr["learning_rate"] = scales[parameter_name]
    return build_adamw(model, weight_decay=weight_decay, betas=betas, eps=eps, decays=decays)
