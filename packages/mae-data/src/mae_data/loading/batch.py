"""One batch, as the loader hands it to a stage."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paddle import Tensor


class Batch(NamedTuple):
    """Samples of one forward pass.

    Attributes:
        images: uint8 [N, H, W, C], or what a stage has made of them: features float32 [N, D].
        labels: int64 [N], -1 where the list has none; or another target: [N, T] of labels or numbers, masks [N, H, W].
        indices: int64 [N], the images' places in their list.
    """

    images: "Tensor"
    labels: "Tensor"
    indices: "Tensor"
