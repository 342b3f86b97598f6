"""A decoder without self-attention (CrossMAE, Fu et al., arXiv 2401.14391): removed patches look at visible ones only.

No removed patch sees another, so only those that the loss counts are computed. Each block looks at a mixture of its
own of what the encoder's blocks put out.
"""

from collections.abc import Sequence

from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.epsilons import LN_EPS
from mae_core.models.transformer import Mlp
from mae_core.ops.layers import LayerNorm, Linear
from mae_core.ops.weighted_sums import weighted_sums


class CrossAttention(nn.Layer):
    """Multi-head attention from queries [N, R, D] to a context [N, T, D_context]."""

    def __init__(self, dim: int, context_dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"embedding dimension {dim} is not divisible by num_heads={num_heads}")
        self.num_heads = num_heads
        self.q = Linear(dim, dim, bias=qkv_bias)
        self.kv = Linear(context_dim, 2 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        (_, queries, dim), tokens = x.shape, context.shape[1]
        q = self.q(x).reshape([-1, queries, self.num_heads, dim // self.num_heads])  # [N, R, h, d]
        kv = self.kv(context).reshape([-1, tokens, 2, self.num_heads, dim // self.num_heads])  # [N, T, 2, h, d]
        k, v = kv.unbind(axis=2)  # [N, T, h, d]
        x = F.scaled_dot_product_attention(q, k, v)  # [N, R, h, d]
        return self.proj(x.reshape([-1, queries, dim]))


class CrossBlock(nn.Layer):
    """x + attention(norm(x), norm(context)), then x + mlp(norm(x)), over [N, R, D] (section 3.2)."""

    def __init__(
        self, dim: int, context_dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.norm_context = LayerNorm(context_dim, epsilon=LN_EPS)
        self.norm1 = LayerNorm(dim, epsilon=LN_EPS)
        self.attn = CrossAttention(dim, context_dim, num_heads, qkv_bias)
        self.norm2 = LayerNorm(dim, epsilon=LN_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Transform queries [N, R, D] by a context [N, T, D_context]."""
        x = x + self.attn(self.norm1(x), self.norm_context(context))
        return x + self.mlp(self.norm2(x))


class Mixtures(nn.Layer):
    """Weighted sums of what the encoder puts out, one for each decoder block (section 3.4).

    Args:
        outputs: K, the encoder's input and its blocks' outputs.
        mixtures: as many as the decoder has blocks.
    """

    def __init__(self, outputs: int, mixtures: int) -> None:
        super().__init__()
        normal = nn.initializer.Normal(std=outputs**-0.5)
        self.weight = self.create_parameter([outputs, mixtures], default_initializer=normal)

    def forward(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Mix K tensors [N, T, D] -> as many of the same shape as there are mixtures."""
        return weighted_sums(self.weight, outputs)
