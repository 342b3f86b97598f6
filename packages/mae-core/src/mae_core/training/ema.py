"""Exponential moving average of a model's weights (paper Table 11)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import nn

from mae_core.training.checkpoints.host_copy import host_copy


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
