"""`mae-pretrain visualize`: original, masked, reconstruction, and reconstruction with the visible patches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from PIL import Image

from mae_core.files import png_bytes, prepare_output, refuse_unwritable, write_output
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.random_masking import Noise
from mae_core.stage.config.node import Config
from mae_core.weights.load import load_weights
from mae_core.weights.sources import Weights
from mae_data.drawing import ShownBands, choose_bands, draw_rows
from mae_data.loading.loader import as_paddle_takes
from mae_pretrain.build import build_model, mask_noise, masking_note, require_decoder, shown_bands, shown_input
from mae_pretrain.reconstruction import Reconstruction, predict_patches, to_images

COLUMNS = ("original", "masked", "reconstruction", "reconstruction + visible")
SHOWN = (0, 1, 3)  # on pages and boards: the reconstruction alone shows noise where it was never trained to predict
VISIBLE_CAPTION = "visible patches are never trained to be predicted"
NODATA_CAPTION = "striped: patches mostly without data, which are removed first and never scored"
NORM_PIX_CAPTION = "trained with norm_pix_loss: each predicted patch is given the true patch's mean and deviation"
_GREY = 0.5  # what a removed patch looks like, between black and white


def visualize(
    config: Config,
    weights: Weights | None,
    files: Sequence[str],
    output: str | Path,
    seed: int = 0,
    bands: Sequence[int] | None = None,
) -> Path:
    """Draw the grid for image files.

    Args:
        weights: of the model, of whatever source.
        files: image paths; each is resized and cropped as in evaluation.
        output: PNG to write.
        seed: draws the masks; image i takes the mask of sample i.
        bands: channels to show as red, green and blue; see `choose_bands`.

    Raises:
        UserError: an output that cannot be written.
        ConfigError: there are no such bands, or no weights.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    path = Path(output)
    prepare_output(path)
    model = build_model(config)
    load_weights(model, require_decoder(weights, "visualize"))
    model.eval()
    shown = shown_bands(config, bands)
    columns = masked_columns(config, model, shown_input(config).batch(files), range(len(files)), shown, seed)
    caption = f"{config.MODEL.NAME}, {ratio_caption(config)}; {VISIBLE_CAPTION}"
    if model.norm_pix_loss:
        caption += f"\n{NORM_PIX_CAPTION}"
    if shown.caption():
        caption += f"\n{shown.caption()}"
    if config.DATA.NODATA is not None:
        caption += f"\n{NODATA_CAPTION}"
    with refuse_unwritable(path):
        write_output(path, png_bytes(draw_grid(columns, caption).save))
    return path


def ratio_caption(config: Config) -> str:
    """Return how much is removed, and how, for captions."""
    return f"mask ratio {config.MODEL.MASK_RATIO:g}{masking_note(config)}"


def masked_columns(
    config: Config,
    model: MaskedAutoencoderViT,
    images: NDArray[Any],
    indices: Sequence[int] | NDArray[np.int64],
    shown: ShownBands | None = None,
    seed: int | None = None,
) -> list[NDArray[np.uint8]]:
    """Return the four COLUMNS of images of a list under the masks that belong to their indices; see `mask_noise`."""
    noise = mask_noise(config, paddle.to_tensor(np.asarray(indices, np.int64)), epoch=0, seed=seed)
    return reconstruction_columns(model, images, config.MODEL.MASK_RATIO, noise, shown or shown_bands(config))


def reconstruction_columns(
    model: MaskedAutoencoderViT,
    images: NDArray[Any],
    mask_ratio: float,
    noise: Noise,
    shown: ShownBands | None = None,
) -> list[NDArray[np.uint8]]:
    """Return the four COLUMNS, each uint8 [N, H, W, 1 or 3].

    Args:
        images: [N, H, W, C] as stored.
        noise: what decides their masks.
    """
    recon = predict_patches(model, paddle.to_tensor(as_paddle_takes(images)), mask_ratio, noise)
    return columns_of(model, recon, shown)


def columns_of(
    model: MaskedAutoencoderViT, recon: Reconstruction, shown: ShownBands | None = None
) -> list[NDArray[np.uint8]]:
    """Return the four COLUMNS of a reconstruction, each uint8 [N, H, W, 1 or 3]."""
    shown = shown or choose_bands(model.pixel_mean, model.pixel_std)
    removed = recon.mask.unsqueeze(-1)  # [N, L, 1]
    masked = recon.original * (1.0 - removed) + paddle.to_tensor(_grey(model, shown)) * removed
    pasted = recon.original * (1.0 - removed) + recon.predicted * removed
    columns = (recon.original, masked, recon.predicted, pasted)
    if recon.valid is not None:
        empty, hatch = (1.0 - recon.valid).unsqueeze(-1), paddle.to_tensor(_hatch(model, shown))
        columns = tuple(x * (1.0 - empty) + hatch * empty for x in columns)
    return [to_images(x, model.patch_size, model.grid, shown) for x in columns]


def _hatch(model: MaskedAutoencoderViT, shown: ShownBands) -> NDArray[np.float32]:
    """Return a patch [p*p*C] that is shown in black and white stripes: there are no data."""
    side = np.arange(model.patch_size)
    stripes = (side[:, None] + side) // max(1, model.patch_size // 4) % 2  # [p, p]
    values = np.zeros((*stripes.shape, model.in_chans), np.float32)
    values[..., list(shown.bands)] = np.where(stripes[..., None], shown.high, shown.low)
    return values.reshape(-1)


def _grey(model: MaskedAutoencoderViT, shown: ShownBands) -> NDArray[np.float32]:
    """Return a patch [p*p*C] that is shown grey."""
    values = np.full(model.in_chans, _GREY, np.float32)
    values[list(shown.bands)] = shown.low + _GREY * (shown.high - shown.low)
    return np.tile(values, model.patch_size**2)


def draw_grid(
    columns: Sequence[NDArray[np.uint8]], caption: str, cell: int = 128, titles: Sequence[str] = COLUMNS
) -> Image.Image:
    """Lay columns of images out with their titles and a caption; small images are enlarged to `cell` pixels."""
    titled = list(zip(titles, columns, strict=True))
    rows = [[("" if i else title, images[i]) for title, images in titled] for i in range(len(columns[0]))]
    return draw_rows(rows, cell=cell, caption=caption)
