"""The parts of ViT: embeddings of patches and positions, and the pre-norm block.

A block has a LayerNorm epsilon of 1e-6, qkv bias, exact GELU, no LayerScale. As written here it runs on a GPU, in
static graphs, and wherever `MAE_CORE_OPS=reference` asks for it; on a CPU `ops.transformer_block` computes the same in
one operator.
"""

import math

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.epsilons import LN_EPS
from mae_core.ops import products
from mae_core.ops.layers import Linear
from mae_core.ops.transformer_block import BlockParameters, is_fused, transformer_block


def sincos_pos_embed(dim: int, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Build the 2-D sine-cosine position embedding (paper section A.1) of a class token and a grid of patches.

    Args:
        dim: channels D, divisible by 4. The first half encodes the column, the second the row.
        grid: patches (rows, columns).

    Returns:
        float32 [1 + rows*columns, D], computed in float64; row 0 (class token) is zero.

    Raises:
        ValueError: D is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"embedding dimension {dim} is not divisible by 4; sine-cosine positions need that")
    rows, columns = np.meshgrid(
        np.arange(grid[0], dtype=np.float64), np.arange(grid[1], dtype=np.float64), indexing="ij"
    )
    omega = 10000.0 ** (-np.arange(dim // 4, dtype=np.float64) / (dim / 4))
    angles = [np.outer(places, omega) for places in (columns.ravel(), rows.ravel())]  # each [L, D/4]
    patches = np.concatenate([wave(part) for part in angles for wave in (np.sin, np.cos)], axis=1)  # [L, D]
    return np.concatenate([np.zeros((1, dim)), patches]).astype(np.float32)


class PatchEmbed(nn.Layer):
    """One linear layer from the pixels of a patch [.., p*p*C] to a token [.., D]."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        # A linear layer rather than a convolution: only visible patches are embedded, and Xavier's
        # fans are those of the weight viewed as [D, p*p*C], as the paper's init needs.
        self.proj = Linear(patch_size * patch_size * in_chans, embed_dim)

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches)


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
        qkv = products.stored(self.qkv(x))
        qkv = qkv.reshape([-1, length, 3, self.num_heads, dim // self.num_heads])  # [N, L, 3, h, d]
        q, k, v = qkv.unbind(axis=2)  # [N, L, h, d]
        x = F.scaled_dot_product_attention(q[:, first:] if first else q, k, v)  # [N, L - first, h, d]
        return self.proj(x.reshape([-1, length - first, dim]))

    def maps(self, x: Tensor) -> Tensor:
        """Compute softmax(q k^T / sqrt(d)) of tokens [N, L, D] -> float32 [N, h, L, L]; `forward` does not keep it."""
        return F.softmax(self.logits(x), axis=-1)

    def logits(self, x: Tensor) -> Tensor:
        """Compute what `maps` takes the softmax of -> float32 [N, h, L, L]."""
        _, length, dim = x.shape
        width = dim // self.num_heads
        qkv = self.qkv(x).reshape([-1, length, 3, self.num_heads, width]).transpose([2, 0, 3, 1, 4])  # [3, N, h, L, d]
        products = paddle.matmul(qkv[0], qkv[1], transpose_y=True) / math.sqrt(width)  # [N, h, L, L]
        return products.astype("float32")


class Mlp(nn.Layer):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(products.stored(self.fc1(x))))


class DropPath(nn.Layer):
    """Drop the residual branch of whole samples, scaling the others by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.draw_scale(x) if self.drops else x

    @property
    def drops(self) -> bool:
        """Whether samples lose their branch."""
        return self.training and self.rate > 0.0

    def draw_scale(self, x: Tensor) -> Tensor:
        """Draw for each sample of x what its branch is multiplied by: 0 or 1 / (1 - rate) -> [N, 1, 1]."""
        keep = 1.0 - self.rate
        alive = (paddle.rand([x.shape[0], 1, 1]) < keep).astype(x.dtype)
        return alive / keep


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
        if is_fused(x) and self._is_stock():
            return self._fused(x, first)
        x = (x[:, first:] if first else x) + self.drop_path(self.attn(self.norm1(x), first))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _fused(self, x: Tensor, first: int) -> Tensor:
        scales = None
        if self.drop_path.drops:  # drawn in the order of the lines above
            scales = paddle.concat([self.drop_path.draw_scale(x) for _ in range(2)]).reshape([2, -1])  # [2, N]
        attn, mlp = self.attn, self.mlp
        parameters = BlockParameters(
            *(self.norm1.weight, self.norm1.bias, attn.qkv.weight, attn.qkv.bias, attn.proj.weight, attn.proj.bias),
            *(self.norm2.weight, self.norm2.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight, mlp.fc2.bias),
        )
        return transformer_block(x, parameters, num_heads=attn.num_heads, first=first, epsilon=LN_EPS, scales=scales)

    def _is_stock(self) -> bool:
        """Return whether every part is as made here: a hook on one, or another layer in its place, has to be called."""
        kinds = (nn.LayerNorm, Attention, nn.LayerNorm, Mlp, DropPath)
        parts = (self.norm1, self.attn, self.norm2, self.mlp, self.drop_path)
        if any(type(part) is not kind for part, kind in zip(parts, kinds, strict=True)):
            return False
        linears = (self.attn.qkv, self.attn.proj, self.mlp.fc1, self.mlp.fc2)
        return all(type(layer) is Linear for layer in linears) and not any(
            layer._forward_pre_hooks or layer._forward_post_hooks for layer in parts + linears
        )
