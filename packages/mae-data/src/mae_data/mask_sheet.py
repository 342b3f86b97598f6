"""A picture of what was segmented: rows of image, truth, prediction, mistakes, and the colours of the classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mae_data.drawing import GAP, Tile, draw_rows

CELL, SWATCH = 192, 14  # pixels
_IGNORED, _WRONG = np.array([255, 255, 255], np.uint8), np.array([230, 30, 30], np.uint8)

Row = tuple[NDArray[np.uint8], NDArray[np.integer], NDArray[np.integer]]


def draw_sheet(rows: Sequence[Row], names: Sequence[str], colours: NDArray[np.uint8], ignore: int) -> Image.Image:
    """Draw rows of one size.

    Args:
        rows: picture uint8 [H, W, 1 or 3], truth and prediction [H, W].
        names: of the K classes.
        colours: uint8 [K, 3].
        ignore: value of the truth's pixels that do not count; they are white.
    """
    drawn: list[list[Tile]] = []
    for picture, truth, found in rows:
        wrong = (truth != found) & (truth != ignore)
        share = wrong.sum() / max(1, (truth != ignore).sum())
        titles = ("image", "truth", "prediction", f"wrong: {100 * share:.0f} % of the pixels")
        ignored = truth == ignore
        drawn_wrong = np.where(ignored[:, :, None], _IGNORED, wrong_pixels(picture, wrong))
        tiles = (picture, painted(truth, colours, ignore), painted(found, colours, ignore), drawn_wrong)
        drawn.append(list(zip(titles, (np.broadcast_to(tile, (*tile.shape[:2], 3)) for tile in tiles), strict=True)))
    sheet = draw_rows(drawn, cell=CELL)
    legend = _draw_legend(names, colours, sheet.width)
    whole = Image.new("RGB", (sheet.width, sheet.height + legend.height), "white")
    whole.paste(sheet, (0, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def painted(mask: NDArray[np.integer], colours: NDArray[np.uint8], ignore: int) -> NDArray[np.uint8]:
    """Give each pixel of a mask [H, W] the colour of its class -> [H, W, 3]."""
    ignored = mask == ignore
    picture = colours[np.where(ignored, 0, mask)]
    picture[ignored] = _IGNORED
    return picture


def wrong_pixels(picture: NDArray[np.uint8], wrong: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw what is wrong red on the darkened picture [H, W, 1 or 3] -> [H, W, 3]."""
    grey = np.broadcast_to(picture.mean(axis=2, keepdims=True) / 2, (*picture.shape[:2], 3)).astype(np.uint8)
    return np.where(wrong[:, :, None], _WRONG, grey)


def _draw_legend(names: Sequence[str], colours: NDArray[np.uint8], width: int) -> Image.Image:
    font, step = ImageFont.load_default(SWATCH - 1), SWATCH + GAP
    widths = [SWATCH + GAP // 2 + int(font.getlength(name)) + 2 * GAP for name in names]
    places, left, top = list[tuple[int, int]](), GAP, GAP
    for wide in widths:
        if left > GAP and left + wide > width:
            left, top = GAP, top + step
        places.append((left, top))
        left += wide
    legend = Image.new("RGB", (width, top + step), "white")
    draw = ImageDraw.Draw(legend)
    for name, colour, (x, y) in zip(names, colours, places, strict=True):
        draw.rectangle((x, y, x + SWATCH, y + SWATCH), fill=tuple(map(int, colour)), outline="black")
        draw.text((x + SWATCH + GAP // 2, y), name, fill="black", font=font)
    return legend
