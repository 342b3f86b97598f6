"""The optimizers of fine-tuning, by the name that TRAIN.OPTIMIZER.NAME gives them, and what of a model they train.

All have a rate for each layer: the lower it is, the smaller its steps (paper Table 9, as in BEiT). Partial fine-tuning
trains the last blocks only (paper Figure 9).

PaddleNLP's AdamWDL is bridged to today's Paddle: as shipped (paddlenlp 2.8.1) its `step()` fails on Paddle 2.6 and 3,
it decays weights twice (once by itself, once through the AdamW it derives from), and its own layer rule matches other
models' names only.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from paddle import Tensor, nn
from paddle.optimizer import Optimizer

from mae_core.errors import ConfigError
from mae_core.process import log
from mae_core.process.installation import pip_install
from mae_core.training.optim import POSITIONS, build_adamw, decay_rule, layer_scales, trainable
from mae_core.training.optim import decays as decays_in_pretraining

_AFTER_BLOCKS = ("norm.", "fc_norm.", "head.")
_MLP_SUB_BLOCK = ("norm2.", "mlp.")


def decays(name: str, parameter: Tensor) -> bool:
    """Decay everything but biases, 1-D parameters, the class token and the position embedding (fine-tuning)."""
    return name not in POSITIONS and decays_in_pretraining(name, parameter)


def is_tuned(name: str, depth: int, blocks: float) -> bool:
    """Return whether a parameter is trained.

    Args:
        name: structured name.
        depth: number of blocks of the model.
        blocks: how many of the last blocks are trained; 0.5 is the MLP sub-block of the last one, 0 the head alone.
    """
    if name.startswith(_AFTER_BLOCKS):
        return True
    if not name.startswith("blocks."):
        return False
    _, index, inside = name.split(".", 2)
    if blocks == 0.5:
        return int(index) == depth - 1 and inside.startswith(_MLP_SUB_BLOCK)
    return int(index) >= depth - blocks


def freeze_below(model: nn.Layer, blocks: float) -> None:
    """Stop the gradients of all parameters that are not trained; see `is_tuned`."""
    for name, parameter in model.named_parameters():
        if not is_tuned(name, len(model.blocks), blocks):
            parameter.stop_gradient = True


@cache
def bridged_class() -> type:
    """Derive from PaddleNLP's AdamWDL what its three faults leave to do.

    Raises:
        ConfigError: PaddleNLP is not installed.
    """
    try:
        from paddlenlp.ops.optimizer import AdamWDL
    except ImportError as error:
        raise ConfigError(
            f"TRAIN.OPTIMIZER.NAME=AdamWDL needs PaddleNLP: {pip_install('mae-finetune', 'paddlenlp')}; or use AdamW,"
            f" which takes the same steps ({error})"
        ) from None

    class BridgedAdamWDL(AdamWDL):
        def _create_optimization_pass(self, *args: Any, **kwargs: Any) -> Any:
            """Pass on what today's Paddle adds (`param_group_idx`)."""
            return super(AdamWDL, self)._create_optimization_pass(*args, **kwargs)

        def _append_decoupled_weight_decay(self, block: Any, param_and_grad: Any) -> None:
            """Leave weight decay to AdamW, which does it at the layer's own learning rate."""

    return BridgedAdamWDL


def _adamw(model: nn.Layer, *, layer_decay: float, **settings: Any) -> Optimizer:
    scales = layer_scales(model, layer_decay)
    # One flat list with a factor per parameter: the same steps as a group per layer, and faster.
    for name, parameter in trainable(model):
        parameter.optimize_attr["learning_rate"] = scales[name]
    return build_adamw(model, decays=decays, **settings)


def _adamwdl(
    model: nn.Layer, *, weight_decay: float, betas: Sequence[float], eps: float, layer_decay: float
) -> Optimizer:
    """Build PaddleNLP's AdamWDL with this model's layer rule; where it is missing, AdamW, which steps alike."""
    if find_spec("paddlenlp") is None:
        log.LOGGER.info(
            "TRAIN.OPTIMIZER.NAME=AdamWDL: PaddleNLP is not installed; AdamW with a rate for each layer takes its"
            " place, with the same steps"
        )
        return _adamw(model, layer_decay=layer_decay, weight_decay=weight_decay, betas=betas, eps=eps)
    scales, named = layer_scales(model, layer_decay), trainable(model)

    def scale_of(layer_decay: float, names: dict[str, str], n_layers: int, parameter: Tensor) -> float:
        return scales[names[parameter.name]]

    return bridged_class()(
        learning_rate=0.0,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=eps,
        parameters=[p for _, p in named],
        weight_decay=weight_decay,
        apply_decay_param_fun=decay_rule(named, decays),
        layerwise_decay=float(layer_decay),
        n_layers=len(model.blocks),
        set_param_lr_fun=scale_of,
        name_dict={p.name: name for name, p in named},
    )


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
