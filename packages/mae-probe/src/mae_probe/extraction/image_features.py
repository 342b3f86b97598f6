"""Features of images from anywhere."""

from itertools import islice
from os import PathLike

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

import mae_core
from mae_core.errors import UserError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_data.errors import InputError
from mae_data.loading.loader import as_paddle_takes
from mae_data.loading.preprocess import Images, ModelInput, each_image
from mae_probe.extraction.pooling import POOLS, block_numbers, pooled


@paddle.no_grad()
def features(
    model: MaskedAutoencoderViT | VisionTransformer | str | PathLike[str],
    images: Images,
    *,
    pool: str = "class",
    block: int = -1,
    batch_size: int = 64,
    crop_pct: float | None = None,
) -> NDArray[np.float32]:
    """Encode images with a pre-trained encoder, as `mae-probe features` does.

    Args:
        model: the model, or a run or weight file of any source.
        images: one or several paths, PIL images or uint8 arrays, or a folder; see `mae_data.preprocess`.
        pool: "class", the class token after the last norm, or "mean", the mean of the patch tokens after it; "grid2"
            and "grid4", the mean of each part of a 2 x 2 or 4 x 4 grid, side by side. A classifier with global_pool
            has no class token, and gives the mean that its head reads.
        block: number from 0 of the block whose tokens are pooled, or from the end; they go through the last norm.
        batch_size: images to a forward pass.
        crop_pct: part of the shorter side that is shown; by default what the model's run showed, else 0.875 up to 224
            pixels and 1.0 above.

    Returns:
        float32 [N, D]; of the grids [N, 4 D] and [N, 16 D].

    Raises:
        UserError: pool, block or batch_size cannot be used.
        DataError: an image cannot be read.

    Examples:
        >>> model = mae_core.build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)
        >>> features(model, [np.zeros((40, 50, 3), np.uint8)] * 3).shape
        (3, 192)
    """
    if pool not in POOLS or batch_size < 1:
        raise UserError(f"pool={pool!r}, batch_size={batch_size}; pool is one of {', '.join(POOLS)}, a batch 1 or more")
    loaded = model if isinstance(model, nn.Layer) else mae_core.load(str(model))
    averages = isinstance(loaded, VisionTransformer) and loaded.global_pool
    pool = "mean" if averages and pool == "class" else pool
    (block,) = block_numbers([block], len(loaded.blocks))
    was_training, each = loaded.training, iter(each_image(images))
    loaded.eval()
    parts, given = [], ModelInput.of(loaded, crop_pct)
    while batch := list(islice(each, batch_size)):
        pixels = given.batch(batch)
        parts.append(pooled(loaded, paddle.to_tensor(as_paddle_takes(pixels)), pool, block).numpy())
    if was_training:
        loaded.train()
    if not parts:
        raise InputError("there is no image; give a path, a PIL image or an array, or several")
    return np.concatenate(parts)
