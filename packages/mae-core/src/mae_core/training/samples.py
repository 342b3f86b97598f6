"""What the loop and the scoring need of a batch; a stage's loader may give more."""

from typing import Protocol

from paddle import Tensor


class Samples(Protocol):
    """Samples of one forward pass on one rank.

    Attributes:
        images: what the model takes, one entry per image: uint8 [N, H, W, C], or cached features [N, D].
        labels: int64 [N].
        indices: int64 [N], the images' places in their list.
    """

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def indices(self) -> Tensor: ...
