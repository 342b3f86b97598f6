"""What moves the weights: learning rate, AdamW with the right parameters decayed, gradient clipping, an average."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import Tensor, nn

from mae_core.training.checkpoints.writer import host_copy


def scaled_lr(base_lr: float, batch_size: int, per: int | None = 256) -> float:
    """Scale the base learning rate by the effective batch, `base_lr * batch_size / per` (Goyal et al.).

    With `per` None (or 0) the base learning rate is the learning rate itself.

    Examples:
        >>> scaled_lr(1.5e-4, 4096)
        0.0024
    """
    return base_lr * batch_size / per if per else base_lr


def warmup_cosine(
    epoch: float,
    *,
    lr: float,
    min_lr: float,
    warmup_epochs: float,
    epochs: float,
    warmup_start_lr: float = 0.0,
) -> float:
    """Return the learning rate at a fractional epoch.

    Args:
        epoch: position, step / steps_per_epoch. Steps are whole ones: where accumulation does not divide an epoch's
            batches, the official scripts, which count batches of len(loader), stand up to 0.15 epochs elsewhere with
            20 batches, and their learning rate was up to 0.23 of the peak another.
        lr: peak, reached when the warm-up ends.
        min_lr: value at the last epoch.

    Examples:
        >>> [round(warmup_cosine(e, lr=1.0, min_lr=0.0, warmup_epochs=10, epochs=110), 3) for e in (0, 5, 10, 60, 110)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if epoch < warmup_epochs:
        return warmup_start_lr + (lr - warmup_start_lr) * epoch / warmup_epochs
    progress = min(1.0, (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1e-12))
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_stable_decay(
    epoch: float,
    *,
    lr: float,
    min_lr: float,
    warmup_epochs: float,
    falls_from: float,
    epochs: float,
    warmup_start_lr: float = 0.0,
) -> float:
    """Return the learning rate at a fractional epoch: the peak, then lr (1 - sqrt t) (arXiv 2405.18392, section 3).

    Args:
        falls_from: epoch at which it begins to fall; until then no step knows how long the run is.
        epoch, lr, min_lr, warmup_epochs, epochs, warmup_start_lr: see `warmup_cosine`.

    Examples:
        >>> settings = {"lr": 1.0, "min_lr": 0.0, "warmup_epochs": 10, "falls_from": 80, "epochs": 100}
        >>> [round(warmup_stable_decay(e, **settings), 3) for e in (0, 5, 10, 80, 85, 100)]
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if epoch < warmup_epochs:
        return warmup_start_lr + (lr - warmup_start_lr) * epoch / warmup_epochs
    fallen = min(1.0, max(0.0, epoch - falls_from) / max(epochs - falls_from, 1e-12))
    return min_lr + (lr - min_lr) * (1.0 - math.sqrt(fallen))


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
    return AdamW(
        learning_rate=0.0,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=eps,
        parameters=[p for _, p in named],
        weight_decay=weight_decay,
        apply_decay_param_fun=decay_rule(named, decays),
    )


def decay_rule(
    named: Iterable[tuple[str, Tensor]], decays: Callable[[str, Tensor], bool] = decays
) -> Callable[[str], bool]:
    """Return `decays` as Paddle asks it: by its own unique name ("linear_3.w_0"), which shows no parameter's place.

    Args:
        named: parameters by structured name.
    """
    decayed = {p.name for name, p in named if decays(name, p)}
    return lambda name: name in decayed


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


class Ema:
    """Averaged weights, `decay * average + (1 - decay) * weights` after each step, from the initial weights on.

    Args:
        decay: 0.9999 in the paper.
        averaged: whether a weight of a structured name is averaged; others are as the model has them.
    """

    def __init__(self, model: nn.Layer, decay: float, averaged: Callable[[str], bool] = lambda name: True) -> None:
        self.decay = decay
        state = model.state_dict()
        self._averages = {name: value.detach().clone() for name, value in state.items() if averaged(name)}

    @paddle.no_grad()
    def update(self, model: nn.Layer) -> None:
        """Take in the weights after a step."""
        state = model.state_dict()
        for name, average in self._averages.items():
            average.lerp_(state[name], 1.0 - self.decay)

    @contextmanager
    def swapped_in(self, model: nn.Layer) -> Iterator[None]:
        """Put the averages in the model's place, and the weights back afterwards."""
        weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.set_state_dict(weights | self._averages)
        try:
            yield
        finally:
            model.set_state_dict(weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """Copy the averages to NumPy, by structured name."""
        return {name: host_copy(value) for name, value in self._averages.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `arrays` returned."""
        self._averages = {name: paddle.to_tensor(arrays[name]) for name in self._averages}
