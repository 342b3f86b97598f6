"""What the class token attends to: weights per head, and their rollout over the blocks."""

import math

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.models import ViTEncoder
from mae_core.models.transformer import Attention


@paddle.no_grad()
def attention_weights(model: ViTEncoder, images: Tensor, last: int | None = None) -> list[NDArray[np.float32]]:
    """Return each block's softmax weights [N, heads, 1 + L, 1 + L] for uint8 images [N, H, W, C].

    Args:
        last: how many blocks, from the end; all when None.
    """
    collected: list[NDArray[np.float32]] = []

    def collect(layer: Attention, inputs: tuple[Tensor, ...]) -> None:
        collected.append(_weights(layer, inputs[0]))

    hooks = [block.attn.register_forward_pre_hook(collect) for block in list(model.blocks)[-last if last else 0 :]]
    try:
        model.forward_features(images)
    finally:
        for hook in hooks:
            hook.remove()
    return collected


def _weights(attention: Attention, x: Tensor) -> NDArray[np.float32]:
    """Compute softmax(q k^T / sqrt(d)): the fused operation that the model runs does not give its weights."""
    n, length, dim = x.shape
    width = dim // attention.num_heads
    qkv = attention.qkv(x).reshape([n, length, 3, attention.num_heads, width]).transpose([2, 0, 3, 1, 4])
    logits = paddle.matmul(qkv[0], qkv[1], transpose_y=True) / math.sqrt(width)  # [N, h, 1 + L, 1 + L]
    return paddle.nn.functional.softmax(logits.astype("float32"), axis=-1).numpy()


def class_maps(weights: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return the class token's weights on the patches, [N, heads, rows, columns], of one block's weights."""
    return weights[:, :, 0, 1:].reshape(*weights.shape[:2], *grid)


def rollout(blocks: list[NDArray[np.float32]], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return the class token's attention rolled out over all blocks, [N, rows, columns] (arXiv 2005.00928).

    A block passes half by its residual and half by its heads' mean attention.
    """
    n, _, length, _ = blocks[0].shape
    identity = np.eye(length)
    total = np.broadcast_to(identity, (n, length, length))
    for weights in blocks:
        total = (0.5 * weights.mean(axis=1, dtype=np.float64) + 0.5 * identity) @ total
    return total[:, 0, 1:].reshape(n, *grid)
