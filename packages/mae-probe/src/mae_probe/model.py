"""The linear probe: a frozen ViT, a batch norm without affine, a linear layer."""

from typing import Any

import paddle
from paddle import Tensor, nn

from mae_core import distributed
from mae_core.models import VisionTransformer

HEAD_STD = 0.01
_EPS = 1e-6
_KEPT = 0.9  # share of the running statistics that a batch leaves


class FeatureNorm(nn.Layer):
    """Batch norm over [N, D] without scale and shift, with the statistics of all ranks.

    Features of a frozen encoder need no gradient, so ranks can simply add up their sums: any number of
    them normalises alike. The running variance is the unbiased one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("_mean", paddle.zeros([dim]))
        self.register_buffer("_variance", paddle.ones([dim]))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self._mean) / (self._variance + _EPS).sqrt()
        with paddle.no_grad():
            n, mean = _mean_over_ranks(x)
            variance = _mean_over_ranks((x - mean).square())[1]
            self._keep(self._mean, mean)
            self._keep(self._variance, variance * (n / max(n - 1.0, 1.0)))
        return (x - mean) / (variance + _EPS).sqrt()

    def _keep(self, running: Tensor, of_batch: Tensor) -> None:
        running.set_value(_KEPT * running + (1.0 - _KEPT) * of_batch)


def _mean_over_ranks(x: Tensor) -> tuple[float, Tensor]:
    """Return how many rows all ranks have, and their mean [D]."""
    if distributed.world_size() == 1:
        return float(x.shape[0]), x.mean(axis=0)
    total = paddle.concat([x.sum(axis=0), paddle.full([1], x.shape[0], dtype=x.dtype)])
    paddle.distributed.all_reduce(total)
    return float(total[-1]), total[:-1] / total[-1]


class LinearProbe(VisionTransformer):
    """A frozen encoder under a trainable head (paper section 4.1, Table 10).

    Args:
        num_classes: outputs of the head.
        global_pool: probe the mean of the patch tokens instead of the class token.
        kwargs: see `ViTEncoder`.
    """

    def __init__(self, *, num_classes: int = 1000, global_pool: bool = False, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, global_pool=global_pool, head_init_std=HEAD_STD, **kwargs)
        for parameter in self.parameters():
            parameter.stop_gradient = True
        for parameter in self.head.parameters():
            parameter.stop_gradient = False
        self.head = nn.Sequential(FeatureNorm(self.embed_dim), self.head)

    def train(self) -> None:
        """Put the head into training mode; the encoder stays in evaluation mode."""
        super().train()
        for name, layer in self.named_children():
            if name != "head":
                layer.eval()

    @paddle.no_grad()
    def forward_features(self, images: Tensor) -> Tensor:
        """Encode images (uint8 [N, H, W, C] or float [N, C, H, W]) to float32 features [N, D], without gradient."""
        return super().forward_features(images).astype("float32")

    def forward(self, inputs: Tensor) -> Tensor:
        """Classify images, or their features [N, D] -> logits [N, num_classes]."""
        return self.head(inputs if inputs.ndim == 2 else self.forward_features(inputs))
