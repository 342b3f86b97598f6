"""What the class token attends to: weights per head, and their rollout over the blocks."""

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
        collected.append(layer.maps(inputs[0]).numpy())

    hooks = [block.attn.register_forward_pre_hook(collect) for block in list(model.blocks)[-last if last else 0 :]]
    try:
        model.forward_features(images)
    finally:
        for hook in hooks:
            hook.remove()
    return collected


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
