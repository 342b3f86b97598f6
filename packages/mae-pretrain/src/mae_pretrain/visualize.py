"""`mae-pretrain visualize`: original, masked, reconstruction, and reconstruction with the visible patches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor
from PIL import Image, ImageDraw, ImageFont

from mae_core.config import Config
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.random_masking import Noise
from mae_core.weights.load import load_model
from mae_data.image_file import open_image
from mae_data.transforms import make_eval_transform
from mae_pretrain.build import build_model, mask_noise, masking_note
from mae_pretrain.png_file import prepare_png, write_png
from mae_pretrain.reconstruction import Reconstruction, reconstruct, to_images

COLUMNS = ("original", "masked", "reconstruction", "reconstruction + visible")
VISIBLE_CAPTION = "visible patches are never trained to be predicted"
NORM_PIX_CAPTION = "trained with norm_pix_loss: each predicted patch is given the true patch's mean and deviation"
_GREY = 0.5  # what a removed patch looks like


def visualize(config: Config, files: Sequence[str], output: str | Path, seed: int = 0) -> Path:
    """Draw the grid for image files with the weights MODEL.PRETRAINED.

    Args:
        files: image paths; each is resized and cropped as in evaluation.
        output: PNG to write.
        seed: draws the masks; image i takes the mask of sample i.

    Raises:
        UserError: an output that cannot be written.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    path = Path(output)
    prepare_png(path)
    model = build_model(config)
    load_model(config.MODEL.PRETRAINED, model)
    model.eval()
    noise = mask_noise(config, paddle.arange(len(files)), epoch=0, seed=seed)
    columns = reconstruction_columns(model, _read(config, files), config.MODEL.MASK_RATIO, noise)
    ratio = f"mask ratio {config.MODEL.MASK_RATIO:g}{masking_note(config)}"
    caption = f"{config.MODEL.NAME}, {ratio}; {VISIBLE_CAPTION}"
    if model.norm_pix_loss:
        caption += f"\n{NORM_PIX_CAPTION}"
    write_png(path, draw_grid(columns, caption).save)
    return path


def _read(config: Config, files: Sequence[str]) -> NDArray[np.uint8]:
    transform = make_eval_transform(image_size=config.DATA.IMAGE_SIZE, crop_pct=config.DATA.CROP_PCT)
    unused = np.random.default_rng(0)  # evaluation draws nothing
    return np.stack([transform(open_image(file, config.DATA.IMAGE_CHANNELS), unused) for file in files])


def reconstruction_columns(
    model: MaskedAutoencoderViT, images: NDArray[np.uint8], mask_ratio: float, noise: Noise
) -> list[NDArray[np.uint8]]:
    """Return the four COLUMNS, each uint8 [N, H, W, C], for uint8 images [N, H, W, C] and what decides their masks."""
    recon = reconstruct(model, paddle.to_tensor(images), mask_ratio, noise)
    return [to_images(x, model.patch_size, model.grid) for x in columns_of(recon)]


def columns_of(recon: Reconstruction) -> list[Tensor]:
    """Return the four COLUMNS as patches of pixel values [N, L, p*p*C]."""
    removed = recon.mask.unsqueeze(-1)  # [N, L, 1]
    masked = recon.original * (1.0 - removed) + _GREY * removed
    pasted = recon.original * (1.0 - removed) + recon.predicted * removed
    return [recon.original, masked, recon.predicted, pasted]


def draw_grid(columns: Sequence[NDArray[np.uint8]], caption: str, cell: int = 128) -> Image.Image:
    """Lay columns of images out with their titles and a caption; small images are enlarged to `cell` pixels."""
    height, width = columns[0].shape[1:3]
    zoom = max(1, cell // max(height, width))
    height, width, gap, title = height * zoom, width * zoom, 8, 22
    width_all = len(columns) * (max(width, 168) + gap) + gap
    bottom = title + len(columns[0]) * (height + gap)
    canvas = Image.new("RGB", (width_all, bottom + 2 * title), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for j, (name, images) in enumerate(zip(COLUMNS, columns, strict=True)):
        left = gap + j * (max(width, 168) + gap)
        draw.text((left, 4), name, fill="black", font=font)
        for i, image in enumerate(images):
            tile = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
            canvas.paste(tile.resize((width, height), Image.Resampling.NEAREST), (left, title + i * (height + gap)))
    draw.multiline_text((gap, bottom + 2), caption, fill="black", font=font)
    return canvas
