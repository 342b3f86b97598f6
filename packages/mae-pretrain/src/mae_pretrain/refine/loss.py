"""The contrast between a sample's neighbour and the other samples of the batch."""

import paddle
from paddle import Tensor
from paddle.nn import functional as F


def neighbour_contrast(neighbours: Tensor, z: Tensor, p: Tensor, temperature: float, first: int = 0) -> Tensor:
    """Ask of each prediction which of the batch it was made for: its sample is replaced by a neighbour, others are not.

    Args:
        neighbours: [N, D] of length 1, a neighbour of each of this rank's samples in the one view.
        z: [M, D] of length 1, the projections of all ranks' samples in that view; no gradient flows into it.
        p: [N, D], predictions of this rank's samples from another view.
        temperature: what the cosines are divided by.
        first: the row of z that is of the first of this rank's samples.

    Returns:
        scalar, the mean cross-entropy over the N samples.
    """
    p = F.normalize(p, axis=1)
    own = paddle.arange(first, first + p.shape[0])  # [N]
    cosines = paddle.matmul(p, z.detach(), transpose_y=True)  # [N, M]
    positive = (p * neighbours.detach()).sum(axis=1, keepdim=True)  # [N, 1]
    is_own = own.unsqueeze(1) == paddle.arange(z.shape[0]).unsqueeze(0)  # [N, M]
    return F.cross_entropy(paddle.where(is_own, positive.expand_as(cosines), cosines) / temperature, own)
