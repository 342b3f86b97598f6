"""Batch norm without scale and shift, over the samples of all ranks."""

from paddle import Tensor, nn
from paddle.autograd import PyLayer, PyLayerContext

from mae_core.process import distributed

EPSILON = 1e-5


class _SumOverRanks(PyLayer):
    """Each rank's loss depends on every rank's samples, so gradients are added as the values are."""

    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor) -> Tensor:
        return distributed.sum_tensor(x)

    @staticmethod
    def backward(ctx: PyLayerContext, grad: Tensor) -> Tensor:
        return distributed.sum_tensor(grad)


def mean_of_all(x: Tensor) -> Tensor:
    """Average [N, D] over the samples of all ranks, which have as many each -> [D]."""
    mean = x.mean(axis=0)
    world = distributed.world_size()
    return _SumOverRanks.apply(mean) / world if world > 1 else mean


class BatchNorm(nn.Layer):
    """Centre and scale each of D features by the batch; there is nothing to learn, and nothing to remember."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [N, D], in float32."""
        x = x.astype("float32")
        centred = x - mean_of_all(x)
        return centred / (mean_of_all(centred.square()) + EPSILON).sqrt()
