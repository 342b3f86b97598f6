"""Attention of images from anywhere, to look at: what `mae-probe attention` draws to files."""

from dataclasses import dataclass
from os import PathLike

import numpy as np
import paddle
from numpy.typing import NDArray
from PIL import Image

import mae_core
from mae_core.errors import UserError
from mae_core.evaluation.attention import attention_weights, class_maps, rollout
from mae_core.files import png_bytes
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_data.drawing import Tile, choose_bands, draw_rows
from mae_data.loading.loader import as_paddle_takes
from mae_data.loading.preprocess import Images, ModelInput
from mae_probe.attention.overlay import CELL, overlay


@dataclass(frozen=True, repr=False)
class AttentionMaps:
    """Images and where the class token looks; a notebook shows them, a row for each image.

    Attributes:
        pictures: the images as the model takes them, uint8 [N, H, W, 1 or 3].
        heads: weights on the patches of each head of the last block, float32 [N, heads, rows, columns].
        rollout: attention rolled out over all blocks, float64 [N, rows, columns] (arXiv 2005.00928).
    """

    pictures: NDArray[np.uint8]
    heads: NDArray[np.float32]
    rollout: NDArray[np.float64]

    def grid(self) -> Image.Image:
        """Draw them: the image, the heads' mean, the rollout, each head; each map scaled by its largest weight."""
        titles = ["image", "mean of heads", "rollout", *(f"head {i}" for i in range(self.heads.shape[1]))]
        rows: list[list[Tile]] = []
        for picture, heads, rolled in zip(self.pictures, self.heads, self.rollout, strict=True):
            tiles = [picture, *(overlay(picture, weights) for weights in (heads.mean(axis=0), rolled, *heads))]
            shown = [np.broadcast_to(tile, (*tile.shape[:2], 3)) for tile in tiles]
            rows.append([("" if rows else title, tile) for title, tile in zip(titles, shown, strict=True)])
        return draw_rows(rows, cell=CELL)

    def __repr__(self) -> str:
        images, heads, rows, columns = self.heads.shape
        return f"AttentionMaps({images} images, {heads} heads, {rows}x{columns} patches)"

    def _repr_png_(self) -> bytes:
        return png_bytes(self.grid().save)


def attention_maps(
    model: MaskedAutoencoderViT | VisionTransformer | str | PathLike[str],
    images: Images,
    *,
    crop_pct: float | None = None,
) -> AttentionMaps:
    """Return the class token's attention on the patches of images, in the last block and over all.

    Args:
        model: the model, or a run or weight file of any source.
        images: one or several paths, PIL images or uint8 arrays, all in one forward pass; see `mae_data.preprocess`.
        crop_pct: part of the shorter side that is shown; by default what the model's run showed, else 0.875 up to 224
            pixels and 1.0 above.

    Raises:
        UserError: the model is none of these.
        DataError: an image cannot be read.

    Examples:
        >>> model = mae_core.build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)
        >>> attention_maps(model, [np.zeros((40, 50, 3), np.uint8)] * 2)
        AttentionMaps(2 images, 3 heads, 2x2 patches)
    """
    loaded = model if isinstance(model, paddle.nn.Layer) else mae_core.load(str(model))
    if not isinstance(loaded, MaskedAutoencoderViT | VisionTransformer):
        raise UserError(f"a model of type {type(model).__name__} has no attention to show; give one of this package")
    pixels = ModelInput.of(loaded, crop_pct).batch(images)
    was_training = loaded.training
    loaded.eval()
    blocks = attention_weights(loaded, paddle.to_tensor(as_paddle_takes(pixels)))
    if was_training:
        loaded.train()
    shown = choose_bands(loaded.pixel_mean, loaded.pixel_std, loaded.value_range)
    unit = (pixels.astype(np.float32) - loaded.value_low) / loaded.value_span
    return AttentionMaps(shown(unit), class_maps(blocks[-1], loaded.grid), rollout(blocks, loaded.grid))
