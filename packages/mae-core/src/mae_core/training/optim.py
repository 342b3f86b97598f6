"""AdamW with the right parameters decayed, and gradient clipping."""

from collections.abc import Callable, Iterable, Sequence

import paddle
from paddle import Tensor, nn


def trainable(model: nn.Layer) -> list[tuple[str, Tensor]]:
    """List (structured name, parameter) of what the optimizer may change."""
    return [(name, p) for name, p in model.named_parameters() if not p.stop_gradient]


def decays(name: str, parameter: Tensor) -> bool:
    """Decay everything but biases and 1-D parameters; class and mask tokens are decayed (pre-training)."""
    return parameter.ndim > 1 and not name.endswith(".bias")


POSITIONS = ("cls_token", "pos_embed")


def layer_id(name: str, depth: int) -> int:
    """Return a parameter's layer: 0 for what makes tokens, i + 1 for block i, depth + 1 for all after the blocks.

    Args:
        name: structured name, such as "blocks.3.attn.qkv.weight".
        depth: number of blocks.
    """
    if name in POSITIONS or name.startswith("patch_embed."):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def layer_scales(model: nn.Layer, layer_decay: float) -> dict[str, float]:
    """Return each parameter's share of the learning rate, layer_decay ** (depth + 1 - layer), by structured name."""
    depth = len(model.blocks)
    return {name: layer_decay ** (depth + 1 - layer_id(name, depth)) for name, _ in model.named_parameters()}


class AdamW(paddle.optimizer.AdamW):
    """Paddle's AdamW, which gives the gradients' memory back to the next forward pass instead of filling it with 0."""

    def clear_grad(self, set_to_zero: bool = False) -> None:
        super().clear_grad(set_to_zero)


def build_adamw(
    model: nn.Layer,
    *,
    weight_decay: float = 0.05,
    betas: Sequence[float] = (0.9, 0.95),
    eps: float = 1e-8,
    decays: Callable[[str, Tensor], bool] = decays,
) -> AdamW:
    """Build AdamW over the trainable parameters; the learning rate is set before each step.

    Args:
        decays: from the structured name ("blocks.0.norm1.weight") and the parameter, whether weight
            decay applies.
    """
    named = trainable(model)
    # Paddle asks by its own unique name ("linear_3.w_0"), which does not show the parameter's place.
    decayed = {p.name for name, p in named if decays(name, p)}
    return AdamW(
        learning_rate=0.0,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=eps,
        parameters=[p for _, p in named],
        weight_decay=weight_decay,
        apply_decay_param_fun=lambda name: name in decayed,
    )


def grad_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the 2-norm over all gradients, float32 scalar."""
    squares = [p.grad.astype("float32").flatten() for p in parameters if p.grad is not None]
    return paddle.add_n([paddle.dot(g, g) for g in squares]).sqrt()


@paddle.no_grad()
def clip_gradients(parameters: Sequence[Tensor], max_norm: float, norm: Tensor) -> None:
    """Scale all gradients in place so that their common norm is at most max_norm."""
    factor = min(1.0, max_norm / (float(norm) + 1e-6))
    for p in parameters:
        if p.grad is not None and factor < 1.0:
            p.grad.scale_(factor)
