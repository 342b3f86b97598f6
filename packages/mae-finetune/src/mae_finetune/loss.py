"""The classification loss: cross-entropy with soft targets."""

from paddle import Tensor
from paddle.nn import functional as F


def soft_target_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean over samples of -sum(weights * targets * log softmax(logits)), in float32.

    It is that of PyTorch's CrossEntropyLoss with weights and class probabilities: the mean is over N.

    Args:
        logits: [N, K].
        targets: float32 [N, K], each row sums to one.
        weights: float32 [K], of the classes; None: all count alike.
    """
    if weights is not None:
        targets = targets * weights
    return -(targets * F.log_softmax(logits.astype("float32"), axis=-1)).sum(axis=-1).mean()
