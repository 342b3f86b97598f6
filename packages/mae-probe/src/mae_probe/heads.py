"""What can be trained on a frozen encoder, by the name that MODEL.HEAD gives it.

A head's classifier is `head.1` behind the batch norm `head.0`, whatever comes before them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from mae_core.process import distributed

_EPS = 1e-6
_KEPT = 0.9  # share of the running statistics that a batch leaves

QUERY_STD = 0.02


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


class AttentivePooling(nn.Layer):
    """Pool tokens [N, L, D] to [N, D] by M learned queries that attend to the tokens themselves.

    Query u_j weights the tokens x_l by a_jl = softmax over l of <u_j, x_l> / sqrt(D): keys and queries are not
    projected. Values are, V = X W without bias, and cut into M slices of D / M columns: slice j of the result is
    sum over l of a_jl V_l,j. There is no projection of the output.

    The sum over tokens comes before the projection here, (a_j X) W_j: the same, at 1 / L of the projection's cost.

    Args:
        dim: D, a multiple of num_queries.
        num_queries: M; 32 in the paper.

    Raises:
        ValueError: D is no multiple of M.
    """

    def __init__(self, dim: int, num_queries: int = 32) -> None:
        super().__init__()
        if dim % num_queries:
            raise ValueError(f"num_queries={num_queries} does not divide the width {dim}; use a divisor")
        self.dim, self.num_queries = dim, num_queries
        normal = nn.initializer.Normal(std=QUERY_STD)
        self.queries = self.create_parameter([num_queries, dim], default_initializer=normal)
        self.value = self.create_parameter([dim, dim], default_initializer=nn.initializer.XavierUniform())

    def attention(self, tokens: Tensor) -> Tensor:
        """Return how each query weights the tokens [N, L, D] -> [N, M, L], rows summing to 1."""
        scores = paddle.matmul(self.queries / math.sqrt(self.dim), tokens, transpose_y=True)
        return F.softmax(scores, axis=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        pooled = paddle.matmul(self.attention(tokens), tokens).transpose([1, 0, 2])  # [M, N, D]
        value = self.value.reshape([self.dim, self.num_queries, -1]).transpose([1, 0, 2])  # [M, D, D / M]
        return paddle.matmul(pooled, value).transpose([1, 0, 2]).reshape([-1, self.dim])  # [N, D]


class Head(NamedTuple):
    """How a head is built, and what it reads.

    Args:
        build: from the classifier (a linear layer), the encoder's width D and the number of queries.
        takes_tokens: it reads the patch tokens [N, L, D]; else the features [N, D].
    """

    build: Callable[[nn.Layer, int, int], nn.Layer]
    takes_tokens: bool = False


def linear_head(classifier: nn.Layer, dim: int, num_queries: int) -> nn.Layer:
    """Build batch norm and classifier (paper section 4.1, Table 10)."""
    return nn.Sequential(FeatureNorm(dim), classifier)


def attentive(classifier: nn.Layer, dim: int, num_queries: int) -> nn.Layer:
    """Build attentive pooling, batch norm and classifier (efficient probing, arXiv 2506.10178)."""
    pool = AttentivePooling(dim, num_queries)
    return nn.Sequential(("pool", pool), ("0", FeatureNorm(dim)), ("1", classifier))


HEADS = {"linear": Head(linear_head), "attentive": Head(attentive, takes_tokens=True)}
