"""What the stages draw for people to look at: images of a data set, and pictures in rows, each under its title."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mae_data.images.shown_bands import ShownBands
from mae_data.loading.dataset import ListDataset

GAP, TITLE = 8, 22  # pixels between pictures, and for a line of titles
_FONT_SIZE = 13

Tile = tuple[str, npt.NDArray[np.uint8]]


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

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
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
