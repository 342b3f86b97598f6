"""Muon (Jordan 2024, kellerjordan.github.io/posts/muon) for the matrices of blocks, AdamW for all else.

The update of a matrix is its momentum with all singular values brought near 1. It is scaled as in Moonlight
(arXiv 2502.16982, section 2.2), so that its entries are as large as AdamW's, whose learning rate and weight decay then
fit both: W <- (1 - lr * decay) W - lr * 0.2 sqrt(max(rows, columns)) * orthogonal(gradient + momentum * M).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from mae_core.training.optim import AdamW, decay_rule, trainable

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic: singular values of 0.01 to 1 come to 0.7 to 1.2 in 5 steps
STEPS = 5
_PARTS = {"qkv": 3, "kv": 2}  # matrices side by side in one layer's weight: query, key and value
_KIND = "momentum_0"  # named as Paddle names its own accumulators, so checkpoints find the parameter


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring the singular values of each matrix [M, R, C] near 1, by Newton-Schulz steps; the vectors stay."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose([0, 2, 1]) if tall else matrices  # [M, r, c], r <= c: the products below are the smaller
    x = x / (x.square().sum(axis=[-2, -1], keepdim=True).sqrt() + 1e-7)  # [M, r, c]
    for _ in range(STEPS):
        gram = paddle.matmul(x, x, transpose_y=True)  # [M, r, r]
        x = a * x + paddle.matmul(b * gram + c * paddle.matmul(gram, gram), x)
    return x.transpose([0, 2, 1]) if tall else x


def hidden_matrices(model: nn.Layer) -> dict[str, Tensor]:
    """Return the weights of blocks' linear layers, by structured name: no embedding, no token, no last layer."""
    return {name: p for name, p in trainable(model) if "blocks." in name and name.endswith(".weight") and p.ndim == 2}


class Muon(AdamW):
    """AdamW whose `hidden` parameters take Muon's steps instead.

    Args:
        hidden: matrices [R, C] and, of each, in how many matrices of equal width its columns are to be seen.
        momentum: share of M that is kept.
        weight_decay: of the hidden matrices; AdamW's own arguments follow.
    """

    def __init__(
        self, hidden: Sequence[tuple[Tensor, int]], *, momentum: float = MOMENTUM, weight_decay: float, **adamw: Any
    ) -> None:
        super().__init__(learning_rate=0.0, weight_decay=weight_decay, **adamw)
        self._hidden, self._momentum, self._decay = list(hidden), momentum, weight_decay
        self._averages: dict[str, Tensor] = {}  # M by the parameter's name, once it has been updated

    @paddle.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        moved = [(p, parts) for p, parts in self._hidden if p.grad is not None]
        lr, pieces = self.get_lr(), [self._direction(p).split(parts, axis=1) for p, parts in moved]
        for (p, _), update in zip(moved, _orthogonal_by_shape(pieces), strict=True):
            p.scale_(1 - lr * self._decay)
            p.subtract_(lr * update)
            p.clear_gradient(False)  # AdamW leaves alone what has none
        super().step()

    def _direction(self, p: Tensor) -> Tensor:
        """Take a gradient into the momentum M <- momentum * M + g; return Nesterov's look ahead."""
        old = self._averages.get(p.name)
        new = p.grad.clone() if old is None else self._momentum * old + p.grad
        self._averages[p.name] = new
        return p.grad + self._momentum * new

    def state_dict(self) -> dict[str, Any]:
        """Return AdamW's state and the momenta, each by its parameter's name and kind."""
        return super().state_dict() | {f"{name}_{_KIND}": value for name, value in self._averages.items()}

    def set_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        own = {f"{p.name}_{_KIND}": p.name for p, _ in self._hidden}
        self._averages = {own[key]: value for key, value in state_dict.items() if key in own}
        super().set_state_dict({key: value for key, value in state_dict.items() if key not in own})


def _orthogonal_by_shape(pieces: Sequence[Sequence[Tensor]]) -> Iterable[Tensor]:
    """Yield the scaled update of each parameter, given the matrices it is made of; those of one shape go together."""
    places: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for i, parts in enumerate(pieces):
        for j, part in enumerate(parts):
            places.setdefault(tuple(part.shape), []).append((i, j))
    done: dict[tuple[int, int], Tensor] = {}
    for shape, where in places.items():
        found = 0.2 * max(shape) ** 0.5 * orthogonal(paddle.stack([pieces[i][j] for i, j in where]))  # [M, R, C]
        done |= dict(zip(where, found.unbind(), strict=True))
    for i, parts in enumerate(pieces):
        yield paddle.concat([done[i, j] for j in range(len(parts))], axis=1)


def build_muon(model: nn.Layer, *, weight_decay: float, betas: Sequence[float], eps: float) -> Muon:
    """Build Muon over the trainable parameters; the learning rate is set before each step."""
    named, hidden = trainable(model), hidden_matrices(model)
    return Muon(
        [(p, _PARTS.get(name.split(".")[-2], 1)) for name, p in hidden.items()],
        weight_decay=weight_decay,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=eps,
        parameters=[p for _, p in named],
        apply_decay_param_fun=decay_rule(named),
    )
