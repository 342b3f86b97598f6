"""Efficient probing's pooling of patch tokens (Psomas et al., arXiv 2506.10178)."""

import math

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

QUERY_STD = 0.02


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
