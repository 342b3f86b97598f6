"""PaddleNLP's AdamWDL, bridged to today's Paddle.

As shipped (paddlenlp 2.8.1) its `step()` fails on Paddle 2.6 and 3, it decays weights twice (once by
itself, once through the AdamW it derives from), and its own layer rule matches other models' names only.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import paddle
from paddle import Tensor, nn

from mae_core.errors import ConfigError
from mae_core.training.optim import trainable

INSTALL = (
    'TRAIN.OPTIMIZER.NAME=AdamWDL needs PaddleNLP: pip install "mae-finetune[paddlenlp]";'
    " or use AdamW, which takes the same steps"
)


@cache
def bridged_class() -> type:
    """Derive from PaddleNLP's AdamWDL what its three faults leave to do.

    Raises:
        ConfigError: PaddleNLP is not installed.
    """
    try:
        from paddlenlp.ops.optimizer import AdamWDL
    except ImportError as error:
        raise ConfigError(f"{INSTALL} ({error})") from None

    class BridgedAdamWDL(AdamWDL):
        def _create_optimization_pass(self, *args: Any, **kwargs: Any) -> Any:
            """Pass on what today's Paddle adds (`param_group_idx`)."""
            return super(AdamWDL, self)._create_optimization_pass(*args, **kwargs)

        def _append_decoupled_weight_decay(self, block: Any, param_and_grad: Any) -> None:
            """Leave weight decay to AdamW, which does it at the layer's own learning rate."""

    return BridgedAdamWDL


def build_adamwdl(
    model: nn.Layer,
    scales: Mapping[str, float],
    *,
    weight_decay: float,
    betas: Sequence[float],
    eps: float,
    layer_decay: float,
    decays: Callable[[str, Tensor], bool],
) -> paddle.optimizer.AdamW:
    """Build AdamWDL over the trainable parameters with this model's layer rule.

    Args:
        scales: share of the learning rate, by structured name.
        decays: from structured name and parameter, whether weight decay applies.
    """
    named = trainable(model)
    decayed = {p.name for name, p in named if decays(name, p)}

    def scale_of(layer_decay: float, names: dict[str, str], n_layers: int, parameter: Tensor) -> float:
        return scales[names[parameter.name]]

    return bridged_class()(
        learning_rate=0.0,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=eps,
        parameters=[p for _, p in named],
        weight_decay=weight_decay,
        apply_decay_param_fun=lambda name: name in decayed,
        layerwise_decay=float(layer_decay),
        n_layers=len(model.blocks),
        set_param_lr_fun=scale_of,
        name_dict={p.name: name for name, p in named},
    )
