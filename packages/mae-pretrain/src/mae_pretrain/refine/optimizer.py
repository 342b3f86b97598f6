"""AdamW with smaller steps in lower blocks, and a weight decay of its own for the heads."""

from collections.abc import Sequence

import paddle
from paddle.base.layer_helper import LayerHelper

from mae_core.training.optim import AdamW, decay_rule, layer_scales, trainable
from mae_pretrain.refine.model import RefinedEncoder


def build_optimizer(
    model: RefinedEncoder,
    *,
    layer_decay: float,
    weight_decay: float,
    heads_weight_decay: float,
    betas: Sequence[float],
    eps: float,
) -> AdamW:
    """Build AdamW over the trainable parameters; the learning rate is set before each step.

    Args:
        layer_decay: factor from one layer of the encoder to the one below.
    """
    named, scales = trainable(model), layer_scales(model, layer_decay)
    heads = [p for name, p in named if name.startswith("head.")]
    encoder = [p for name, p in named if not name.startswith("head.")]
    optimizer = AdamW(
        learning_rate=0.0,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=eps,
        parameters=[
            {"params": encoder, "weight_decay": weight_decay},
            {"params": heads, "weight_decay": heads_weight_decay},
        ],
        apply_decay_param_fun=decay_rule(named),
    )
    # The encoder's moments, too: Paddle does not go on from a checkpoint of the first stage that lacks them.
    optimizer.helper = LayerHelper(type(optimizer).__name__)
    optimizer._create_accumulators(paddle.static.default_main_program().global_block(), [p for _, p in named])
    for name, parameter in named:  # after the groups, which set one rate for all of theirs
        parameter.optimize_attr["learning_rate"] = scales[name]
    return optimizer
