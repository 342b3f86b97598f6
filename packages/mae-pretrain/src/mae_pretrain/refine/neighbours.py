"""Whom a sample is drawn to: one of the most similar among the samples that came before."""

import paddle
from paddle import Tensor

NOBODY = -1  # the number in a free place of a queue


@paddle.no_grad()
def draw_neighbours(z: Tensor, numbers: Tensor, queue: Tensor, queued: Tensor, count: int, uniform: Tensor) -> Tensor:
    """Draw a neighbour of each sample from the most similar ones in a queue.

    A sample is no neighbour of itself, and where nobody else is in the queue it stands in.

    Args:
        z: [N, D] of length 1.
        numbers: int64 [N], the samples' numbers in their list.
        queue: [Q, D] of length 1.
        queued: int64 [Q], whose they are; NOBODY: a free place.
        count: how many of the most similar ones are drawn from.
        uniform: float64 [N] in [0, 1), which decides.

    Returns:
        [N, D] of length 1.
    """
    similarity = paddle.matmul(z, queue, transpose_y=True)  # [N, Q]
    barred = (queued == NOBODY).unsqueeze(0) | (queued.unsqueeze(0) == numbers.unsqueeze(1))  # [N, Q]
    similarity = paddle.where(barred, paddle.full_like(similarity, -float("inf")), similarity)
    best, places = paddle.topk(similarity, min(count, queue.shape[0]))  # [N, count]
    there = paddle.isfinite(best).astype("float64").sum(axis=1)  # [N]
    chosen = (uniform * there).floor().astype("int64").unsqueeze(1)  # [N, 1]
    neighbours = paddle.gather(queue, paddle.take_along_axis(places, chosen, axis=1).flatten())  # [N, D]
    return paddle.where((there > 0).unsqueeze(1), neighbours, z)


@paddle.no_grad()
def pushed(queue: Tensor, new: Tensor) -> Tensor:
    """Return the queue with new entries in front; as many of the oldest fall out.

    Args:
        queue: [Q, ...].
        new: [N, ...]; of more than Q, the first Q stay.
    """
    return paddle.concat([new, queue])[: queue.shape[0]]
