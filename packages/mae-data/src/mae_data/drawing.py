"""What the stages draw for people to look at: which bands of an image are shown, pictures in rows, masks in colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mae_data.loading.dataset import ListDataset

GAP, TITLE = 8, 22  # pixels between pictures, and for a line of titles
_FONT_SIZE = 13

Tile = tuple[str, NDArray[np.uint8]]
_DEVIATIONS = 2.5  # around the mean, what is shown between black and white
_CELL, _SWATCH = 192, 14  # pixels, of a picture of a mask and of a colour in the legend
_IGNORED, _WRONG = np.array([255, 255, 255], np.uint8), np.array([230, 30, 30], np.uint8)

Row = tuple[NDArray[np.uint8], NDArray[np.integer], NDArray[np.integer]]


@dataclass(frozen=True)
class ShownBands:
    """How images become pictures; see `choose_bands`.

    Attributes:
        bands: channels that are shown as red, green and blue, or one as grey; from 0.
        low, high: what is shown black and white in each of them, 0 and 1 the ends of the value range.
        stretched: whether those are not the ends themselves.
    """

    bands: tuple[int, ...]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    stretched: bool

    def __call__(self, unit: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn pixels [..., C], 0 and 1 the ends of the value range, into uint8 [..., 1 or 3]."""
        shown = (unit[..., list(self.bands)] - self.low) / (self.high - self.low)
        return np.floor(shown.clip(0.0, 1.0) * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)

    def caption(self) -> str:
        """Describe what is shown; nothing of pictures that are shown as they are."""
        words = []
        if self.bands not in ((0,), (0, 1, 2)) or self.stretched:
            colours = "red, green, blue" if len(self.bands) == 3 else "grey"
            words.append(f"bands {' '.join(map(str, self.bands))} (from 0) as {colours}")
        if self.stretched:
            words.append(f"black to white: mean -{_DEVIATIONS} to +{_DEVIATIONS} deviations of the band")
        return ", ".join(words)


def choose_bands(
    mean: Sequence[float],
    std: Sequence[float],
    value_range: float | Sequence[float] = 255,
    bands: Sequence[int] | None = None,
) -> ShownBands:
    """Choose the bands of pictures.

    8-bit values are shown as they are; others around the band's mean, since they seldom fill their range.

    Args:
        mean, std: statistics per channel, 0 and 1 the ends of the value range.
        value_range: see `ListDataset`.
        bands: one or three channels, from 0; None for the first three, of fewer the first one.

    Raises:
        ValueError: there are no such bands.
    """
    channels = len(mean)
    chosen = tuple(bands) if bands else (0, 1, 2) if channels >= 3 else (0,)
    if len(chosen) not in (1, 3) or not all(0 <= band < channels for band in chosen):
        raise ValueError(f"bands {' '.join(map(str, chosen))}: give one or three numbers from 0 to {channels - 1}")
    stretched = value_range != 255
    reach = np.array([_DEVIATIONS * std[band] if stretched else 0.5 for band in chosen], np.float32)
    middle = np.array([mean[band] if stretched else 0.5 for band in chosen], np.float32)
    return ShownBands(chosen, middle - reach, middle + reach, stretched)


@dataclass(frozen=True)
class ShownImages:
    """The images of a data set as pictures.

    Attributes:
        dataset: the images, as evaluation reads them.
        shown: which bands are drawn, and between which values.
    """

    dataset: ListDataset
    shown: ShownBands

    def path(self, index: int) -> str:
        """Return an image's path as the list names it; empty beyond its end."""
        return self.dataset.images.path(index) if index < len(self.dataset) else ""

    def picture(self, index: int) -> NDArray[np.uint8]:
        """Return an image as uint8 [H, W, 1 or 3]."""
        limits, pixels = self.dataset.limits, self.dataset[index][0].astype(np.float32)
        return self.shown((pixels - limits.low) / limits.span)


def draw_rows(rows: Sequence[Sequence[Tile]], *, cell: int, caption: str = "") -> Image.Image:
    """Draw rows of pictures of one size on white.

    Args:
        rows: title and uint8 [H, W, 1 or 3] of each picture; a row without titles takes no place for them.
        cell: small pictures are enlarged, by a whole number, to at most this many pixels.
        caption: lines below all rows.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    sides = rows[0][0][1].shape[1::-1]  # width, height
    zoom = max(1, cell // max(sides))
    width, height = sides[0] * zoom, sides[1] * zoom
    step = GAP + max(width, *(int(font.getlength(title)) for row in rows for title, _ in row))
    tops = _tops(rows, height)
    words = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((GAP, tops[-1]), caption, font=font)
    size = max(GAP + step * max(map(len, rows)), int(words[2]) + GAP), int(words[3]) + GAP if caption else tops[-1]
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for row, top in zip(rows, tops, strict=False):
        for column, (title, picture) in enumerate(row):
            left = GAP + column * step
            draw.text((left, top - TITLE + 4), title, fill="black", font=font)
            image = Image.fromarray(np.ascontiguousarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture))
            canvas.paste(image.resize((width, height), Image.Resampling.NEAREST), (left, top))
    draw.multiline_text((GAP, tops[-1]), caption, fill="black", font=font)
    return canvas


def _tops(rows: Sequence[Sequence[Tile]], height: int) -> list[int]:
    """Return where the pictures of each row begin, and where the caption does."""
    tops, end = [], 0
    for row in rows:
        tops.append(end + (TITLE if any(title for title, _ in row) else 0))
        end = tops[-1] + height + GAP
    return [*tops, end]


def draw_sheet(rows: Sequence[Row], names: Sequence[str], colours: NDArray[np.uint8], ignore: int) -> Image.Image:
    """Draw what was segmented: rows of image, truth, prediction and mistakes, and the colours of the classes.

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
    sheet = draw_rows(drawn, cell=_CELL)
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
    font, step = ImageFont.load_default(_SWATCH - 1), _SWATCH + GAP
    widths = [_SWATCH + GAP // 2 + int(font.getlength(name)) + 2 * GAP for name in names]
    places, left, top = list[tuple[int, int]](), GAP, GAP
    for wide in widths:
        if left > GAP and left + wide > width:
            left, top = GAP, top + step
        places.append((left, top))
        left += wide
    legend = Image.new("RGB", (width, top + step), "white")
    draw = ImageDraw.Draw(legend)
    for name, colour, (x, y) in zip(names, colours, places, strict=True):
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=tuple(map(int, colour)), outline="black")
        draw.text((x + _SWATCH + GAP // 2, y), name, fill="black", font=font)
    return legend
