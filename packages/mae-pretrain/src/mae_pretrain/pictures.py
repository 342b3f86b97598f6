"""Reconstructions of images from anywhere, to look at: pictures in memory, as `visualize` draws them to a file."""

from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
import paddle
from numpy.typing import NDArray
from PIL import Image

import mae_core
from mae_core.errors import UserError
from mae_core.files import png_bytes
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey
from mae_data.loading.loader import as_paddle_takes
from mae_data.loading.preprocess import Images, ModelInput
from mae_pretrain.reconstruction import Reconstruction, predict_patches
from mae_pretrain.visualize import COLUMNS, NODATA_CAPTION, NORM_PIX_CAPTION, SHOWN, columns_of, draw_grid

Pixels = NDArray[np.uint8]

USUAL_CROP = 0.875  # what pre-training's config shows in evaluation, at all sizes


@dataclass(frozen=True, repr=False)
class Pictures:
    """Images and what a model makes of them, each uint8 [N, H, W, C]; a notebook shows them side by side.

    Attributes:
        original: as the model takes them, resized and cropped.
        masked: with the removed patches in grey.
        predicted: all patches as predicted; visible ones are never trained to be.
        pasted: removed patches as predicted, the others as they are.
        mask: float32 [N, L], 1 removed, patches row by row.
        loss: the model's own, mean over removed patches.
        caption: what to say of them.
    """

    original: Pixels
    masked: Pixels
    predicted: Pixels
    pasted: Pixels
    mask: NDArray[np.float32]
    loss: float
    caption: str

    def grid(self) -> Image.Image:
        """Draw original, masked and reconstruction with the visible patches put back, a row for each image."""
        return draw_grid([self.original, self.masked, self.pasted], self.caption, titles=[COLUMNS[i] for i in SHOWN])

    def __repr__(self) -> str:
        number, height, width, _ = self.original.shape
        return f"Pictures({number} of {height}x{width}, loss {self.loss:.4f})"

    def _repr_png_(self) -> bytes:
        return png_bytes(self.grid().save)


def reconstruct(
    model: MaskedAutoencoderViT | str | PathLike[str],
    images: Images,
    *,
    mask_ratio: float = 0.75,
    seed: int = 0,
    crop_pct: float | None = None,
) -> Pictures:
    """Remove patches of images at random and let a masked autoencoder predict them, in one forward pass.

    Args:
        model: the model, or a run or weight file with a decoder.
        images: one or several paths, PIL images or uint8 arrays; see `mae_data.preprocess`.
        mask_ratio: share of patches to remove, in (0, 1).
        seed: draws the masks; image i takes the mask of sample i, as in `mae-pretrain visualize`.
        crop_pct: part of the shorter side that is shown; by default what the model's run showed, else 0.875.

    Raises:
        UserError: the model has no decoder.
        DataError: an image cannot be read.

    Examples:
        >>> import numpy as np
        >>> model = mae_core.build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)
        >>> pictures = reconstruct(model, np.zeros((40, 50, 3), np.uint8), mask_ratio=0.5)
        >>> pictures.pasted.shape, pictures.mask.sum().item()
        ((1, 32, 32, 3), 2.0)
    """
    loaded = model if isinstance(model, paddle.nn.Layer) else mae_core.load(str(model))
    if not isinstance(loaded, MaskedAutoencoderViT):
        raise UserError(f"{model if loaded is not model else type(model).__name__} has no decoder: nothing predicts")
    given = replace(ModelInput.of(loaded, crop_pct or loaded.crop_pct or USUAL_CROP), coverage=True)
    pixels = given.batch(images)
    key, was_training = MaskKey(seed, 0, paddle.arange(len(pixels))), loaded.training
    loaded.eval()
    recon = predict_patches(loaded, paddle.to_tensor(as_paddle_takes(pixels)), mask_ratio, key)
    if was_training:
        loaded.train()
    caption = f"mask ratio {mask_ratio:g}"
    caption += f"\n{NORM_PIX_CAPTION}" if loaded.norm_pix_loss else ""
    caption += f"\n{NODATA_CAPTION}" if loaded.nodata is not None else ""
    original, masked, predicted, pasted = columns_of(loaded, recon)
    return Pictures(original, masked, predicted, pasted, recon.mask.numpy(), _loss(recon), caption)


def _loss(recon: Reconstruction) -> float:
    assert recon.loss is not None
    return float(recon.loss)
