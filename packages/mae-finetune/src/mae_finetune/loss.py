"""The classification loss: cross-entropy with soft targets."""

from paddle import Tensor
from paddle.nn import functional as F


def soft_target_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples of -sum(targets * log softmax(logits)), in float32.

    Args:
        logits: [N, K].
        targets: float32 [N, K], each row sums to what its image counts for, such as one.
    """
    return -(targets * F.log_softmax(logits.astype("float32"), axis=-1)).sum(axis=-1).mean()
