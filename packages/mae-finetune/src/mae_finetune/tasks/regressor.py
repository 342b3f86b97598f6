"""A ViT whose outputs are numbers in the units of the training list, which it learns standardised."""

from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.models import VisionTransformer
from mae_core.ops.layers import Linear
from mae_data.errors import DataError


class NumbersHead(Linear):
    """A linear layer that learns standardised numbers, and gives mean + std * them.

    Attributes:
        mean, std: float32 [T], kept with the weights; NaN until they are known.
    """

    def __init__(self, dim_in: int, numbers: int) -> None:
        super().__init__(dim_in, numbers)
        for name in ("mean", "std"):
            self.register_buffer(name, paddle.full([numbers], float("nan")))

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers float32 [N, T]."""
        return super().forward(x).astype("float32") * self.std + self.mean


class Regressor(VisionTransformer):
    """A ViT that gives T numbers.

    Args:
        numbers: T.
        kwargs: see `VisionTransformer`.
    """

    def __init__(self, *, numbers: int, **kwargs: Any) -> None:
        super().__init__(num_classes=numbers, **kwargs)
        head = NumbersHead(self.embed_dim, numbers)
        head.weight.set_value(self.head.weight)
        self.head = head

    def standardise_by(self, targets: NDArray[np.float32]) -> None:
        """Take mean and deviation of the training targets [N, T].

        Raises:
            DataError: a number is the same for all images.
        """
        exact = targets.astype(np.float64)
        mean, std = exact.mean(axis=0), exact.std(axis=0)
        if same := np.flatnonzero(std == 0).tolist():
            raise DataError(f"number {same[0]} is {mean[same[0]]:g} for all training images: there is nothing to learn")
        self.head.mean.set_value(mean.astype(np.float32))
        self.head.std.set_value(std.astype(np.float32))

    def set_state_dict(self, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Load weights; those of another regression leave the scale as it is, where it is known."""
        if not bool(paddle.isnan(self.head.std).any()):
            own = {"head.mean": self.head.mean, "head.std": self.head.std}
            state_dict = {**state_dict, **own}
        return super().set_state_dict(state_dict, *args, **kwargs)

    def loss(self, numbers: Tensor, targets: Tensor) -> Tensor:
        """Return the smooth L1 loss (Huber's with delta 1) of standardised numbers, the mean over all.

        Args:
            numbers, targets: float32 [N, T], in their units.
        """
        return F.smooth_l1_loss((numbers - targets) / self.head.std, paddle.zeros_like(targets))


def as_regressor(model: nn.Layer) -> Regressor:
    """Return a model as what it is, for type checkers."""
    assert isinstance(model, Regressor)
    return model
