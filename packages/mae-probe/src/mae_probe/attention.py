"""Where a model looks: attention of its blocks, drawn over images, to files (`mae-probe attention`) or in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from PIL import Image

import mae_core
from mae_core.errors import UserError
from mae_core.evaluation.attention import attention_weights, class_maps, rollout
from mae_core.files import png_bytes, refuse_unwritable, write_output
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_data_arguments import input_of
from mae_data.drawing import ShownBands, Tile, choose_bands, draw_rows
from mae_data.images.value_range import as_value_range
from mae_data.loading.loader import as_paddle_takes
from mae_data.loading.preprocess import Images, ModelInput
from mae_probe.build import build_model, load_encoder, shown_bands

_HOT = np.array([255.0, 40.0, 0.0])
OPAQUE = 0.7  # of the strongest patch
CELL = 160  # pixels that a small image is enlarged to
SCALE = "colour: from none, no attention, to the map's strongest patch, whose share of the attention its title says"
_PER_ROW = 6  # pictures


def draw_attention(
    opened: Opened, files: Sequence[str], folder: str | Path, bands: Sequence[int] | None = None
) -> list[Path]:
    """Draw `folder/NAME_attention.png` for each image: the image, mean over heads, rollout, each head.

    Mean and heads are of the last block. Each map is scaled by its own largest weight.

    Args:
        opened: the config, and the weights of the encoder.
        files: image paths; each is resized and cropped as in evaluation.
        bands: channels to show as red, green and blue; see `choose_bands`.

    Raises:
        UserError: no such bands, no weights, files of the same name, or a folder that cannot be written.
    """
    log.setup(True)
    config = opened.config
    paths = _outputs(files, Path(folder))
    shown = shown_bands(config, bands)
    with values_from_config():
        given = ModelInput(**input_of(config))
    images = ((file, given.pixels(file)) for file in files)
    for (_, picture, maps), path in zip(attention_of(opened, images, shown), paths, strict=True):
        png = png_bytes(draw_row(picture, maps).save)
        with refuse_unwritable(path, "choose another folder with -output"):
            write_output(path, png)
    return paths


def attention_of(
    opened: Opened, images: Iterable[tuple[str, NDArray[Any]]], shown: ShownBands
) -> Iterator[tuple[str, NDArray[np.uint8], dict[str, NDArray[np.floating]]]]:
    """Yield each image's name, picture and maps by their titles: mean over heads, rollout, each head.

    Args:
        opened: the config, and the weights of the encoder.
        images: names and pixels [H, W, C] as stored.
    """
    config = opened.config
    model = build_model(config)
    load_encoder(config, opened.weights, model, "attention")
    model.eval()
    limits = as_value_range(config.DATA.VALUE_RANGE)
    for name, image in images:
        blocks = attention_weights(model, paddle.to_tensor(as_paddle_takes(image)[None]))
        heads = class_maps(blocks[-1], model.grid)[0]
        maps = _titled(heads, rollout(blocks, model.grid)[0])
        yield name, shown((image.astype(np.float32) - limits.low) / limits.span), maps


def _outputs(files: Sequence[str], folder: Path) -> list[Path]:
    paths = [folder / f"{Path(file).stem}_attention.png" for file in files]
    for i, path in enumerate(paths):
        if path in paths[:i]:
            first = files[paths.index(path)]
            raise UserError(f"{first} and {files[i]} would both become {path}; draw them into different -output")
    return paths


def overlay(
    image: NDArray[np.uint8], weights: NDArray[np.floating], colour: NDArray[np.floating] = _HOT
) -> NDArray[np.uint8]:
    """Lay weights [rows, columns] over an image [H, W, C] as a colour, opaque up to 70 % where they are largest."""
    height, width = image.shape[:2]
    scaled = np.asarray(weights / max(float(weights.max()), 1e-12), dtype=np.float32)
    smooth = Image.fromarray(scaled).resize((width, height), Image.Resampling.BILINEAR)
    opacity = OPAQUE * np.asarray(smooth)[:, :, None].clip(0.0, 1.0)
    colours = np.broadcast_to(image, (height, width, 3))
    return (colours * (1.0 - opacity) + colour * opacity).round().astype(np.uint8)


def overlays(image: NDArray[np.uint8], maps: Mapping[str, NDArray[np.floating]]) -> list[Tile]:
    """Draw an image and its maps: mean of heads and rollout in red, each head in a colour of its own.

    Returns:
        pictures with their titles, which say what share of the attention the strongest patch has.
    """
    colours = [_HOT, _HOT, *_hues(len(maps) - 2)]
    drawn = [
        (f"{name}: to {100 * float(weights.max()):.3g}%", overlay(image, weights, colour))
        for (name, weights), colour in zip(maps.items(), colours, strict=True)
    ]
    return [("image", np.broadcast_to(image, (*image.shape[:2], 3))), *drawn]


def _hues(count: int) -> list[NDArray[np.floating]]:
    """Return so many colours around the circle, from orange on."""
    return [255 * np.array(hsv_to_rgb(0.08 + 0.92 * i / count, 0.9, 1.0)) for i in range(count)]


def draw_row(image: NDArray[np.uint8], maps: Mapping[str, NDArray[np.floating]]) -> Image.Image:
    """Draw the image and its overlays, at most six per row in rows of about one length, each under its title."""
    tiles = overlays(image, maps)
    rows = -(-len(tiles) // _PER_ROW)
    columns = -(-len(tiles) // rows)  # seven make four and three, not six and one
    return draw_rows([tiles[i : i + columns] for i in range(0, len(tiles), columns)], cell=CELL, caption=SCALE)


def _titled(heads: NDArray[np.floating], rolled: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    """Name the maps of an image: mean over heads [heads, rows, columns], rollout, each head."""
    return {"mean of heads": heads.mean(axis=0), "rollout": rolled} | {f"head {i}": h for i, h in enumerate(heads)}


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
        rows = [
            overlays(picture, _titled(heads, rolled))
            for picture, heads, rolled in zip(self.pictures, self.heads, self.rollout, strict=True)
        ]
        return draw_rows(rows, cell=CELL, caption=SCALE)

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
