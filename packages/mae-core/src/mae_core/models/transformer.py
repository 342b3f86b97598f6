"""Pre-norm transformer block of ViT: LayerNorm epsilon 1e-6, qkv bias, exact GELU, no LayerScale."""

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.epsilons import LN_EPS
from mae_core.ops.linear import Linear


class Attention(nn.Layer):
    """Multi-head self-attention over [N, L, D]."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"embedding dimension {dim} is not divisible by num_heads={num_heads}")
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Attend from the tokens behind the first `first` ones to all -> [N, L - first, D]."""
        _, length, dim = x.shape
        qkv = self.qkv(x).reshape([-1, length, 3, self.num_heads, dim // self.num_heads])  # [N, L, 3, h, d]
        q, k, v = qkv.unbind(axis=2)  # [N, L, h, d]
        x = F.scaled_dot_product_attention(q[:, first:] if first else q, k, v)  # [N, L - first, h, d]
        return self.proj(x.reshape([-1, length - first, dim]))


class Mlp(nn.Layer):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DropPath(nn.Layer):
    """Drop the residual branch of whole samples, scaling the others by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        alive = (paddle.rand([x.shape[0], 1, 1]) < keep).astype(x.dtype)  # [N, 1, 1]
        return x * (alive / keep)


class Block(nn.Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)), over [N, L, D]."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = True, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, epsilon=LN_EPS)
        self.attn = Attention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, epsilon=LN_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Transform tokens [N, L, D] -> [N, L - first, D]: those behind the first `first` ones, which see all."""
        x = (x[:, first:] if first else x) + self.drop_path(self.attn(self.norm1(x), first))
        return x + self.drop_path(self.mlp(self.norm2(x)))
