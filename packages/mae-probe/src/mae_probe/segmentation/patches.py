"""What stands for the patches of images: tokens of an encoder, or their pixels."""

from collections.abc import Callable

import paddle
from paddle import Tensor

from mae_core.models import VisionTransformer

Patches = Callable[[Tensor], Tensor]


def patch_tokens(model: VisionTransformer, block: int = -1) -> Patches:
    """Make the function from images to their patch tokens behind a block and the last norm, float32 [N, L, D].

    A classifier with global_pool has no norm of tokens; that of their mean takes its place.
    """

    @paddle.no_grad()
    def tokens(images: Tensor) -> Tensor:
        x = model.forward_intermediates(images, [block])[0][:, 1:]
        return (model.fc_norm(x) if model.global_pool else x).astype("float32")

    return tokens


def patch_pixels(model: VisionTransformer) -> Patches:
    """Make the function from images to their patches as the model sees them, float32 [N, L, p*p*C]."""

    @paddle.no_grad()
    def pixels(images: Tensor) -> Tensor:
        return model.normalize(model.patchify(images)).astype("float32")

    return pixels
