"""The batch norm in front of a probe's classifier."""

from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from mae_core.process import distributed

_EPS = 1e-6
_KEPT = 0.9  # share of the running statistics that a batch leaves


class FeatureNorm(nn.Layer):
    """Batch norm over [N, D] without scale and shift, with the statistics of all ranks.

    Any number of ranks normalises alike, and gradients, where the input has any, are those of the whole batch. The
    running variance is the unbiased one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("_mean", paddle.zeros([dim]))
        self.register_buffer("_variance", paddle.ones([dim]))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self._mean) / (self._variance + _EPS).sqrt()
        n, mean = _mean_over_ranks(x)
        variance = _mean_over_ranks((x - mean).square())[1]
        with paddle.no_grad():
            self._keep(self._mean, mean)
            self._keep(self._variance, variance * (n / max(n - 1.0, 1.0)))
        return (x - mean) / (variance + _EPS).sqrt()

    def _keep(self, running: Tensor, of_batch: Tensor) -> None:
        running.set_value(_KEPT * running + (1.0 - _KEPT) * of_batch)


def _mean_over_ranks(x: Tensor) -> tuple[float, Tensor]:
    """Return how many rows all ranks have, and their mean [D]."""
    if distributed.world_size() == 1:
        return float(x.shape[0]), x.mean(axis=0)
    total = _SumOverRanks.apply(paddle.concat([x.sum(axis=0), paddle.full([1], x.shape[0], dtype=x.dtype)]))
    return float(total[-1]), total[:-1] / total[-1].detach()


class _SumOverRanks(PyLayer):
    """All ranks' sum; each rank's input is in the sum of every rank, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient)


def _all_reduced(x: Tensor) -> Tensor:
    total = x.clone()
    paddle.distributed.all_reduce(total)
    return total
