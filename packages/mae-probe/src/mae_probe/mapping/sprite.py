"""Many small pictures as one: a sheet of square cells, row by row, which a page shows in parts."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mae_core.report.pictures import data_url

PIXELS = 16_000_000  # of a sheet: what phones still decode
_LARGEST = 96  # pixels, of a cell's side
_QUALITY = 80


@dataclass(frozen=True)
class Sprite:
    """A sheet of pictures.

    Attributes:
        url: the sheet as a URL that holds all of it.
        columns, rows: of cells.
        side: pixels of a cell's side.
    """

    url: str
    columns: int
    rows: int
    side: int


def photo_sprite(pictures: Iterable[NDArray[np.uint8]], count: int) -> Sprite:
    """Lay pictures [H, W, 1 or 3] out as JPEG, scaled down to a side that keeps the sheet below PIXELS.

    Args:
        pictures: `count` of them; they are taken one by one.
    """
    columns = int(np.ceil(np.sqrt(count)))
    side = min(_LARGEST, int(np.sqrt(PIXELS) / columns))
    sheet, cell = None, side
    for i, picture in enumerate(pictures):
        if sheet is None:
            cell = min(side, max(picture.shape[:2]))
            mode = "L" if picture.shape[2] == 1 else "RGB"
            sheet = Image.new(mode, (columns * cell, -(-count // columns) * cell), 0x808080 if mode == "RGB" else 0x80)
        image = Image.fromarray(np.ascontiguousarray(picture.squeeze(-1) if picture.shape[2] == 1 else picture))
        image.thumbnail((cell, cell))
        left, top = (cell - image.width) // 2, (cell - image.height) // 2
        sheet.paste(image, (i % columns * cell + left, i // columns * cell + top))
    assert sheet is not None
    jpeg = io.BytesIO()
    sheet.save(jpeg, "jpeg", quality=_QUALITY)
    return Sprite(data_url(jpeg.getvalue(), "jpeg"), columns, -(-count // columns), cell)


def pixel_sprite(pictures: NDArray[np.uint8]) -> Sprite:
    """Lay pictures [N, H, W, 3] out as PNG, as they are; what is not square is black beside."""
    count, height, width = pictures.shape[:3]
    side, columns = max(height, width), int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.zeros((rows, columns, side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    for i, picture in enumerate(pictures):
        sheet[i // columns, i % columns, top : top + height, left : left + width] = picture
    flat = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * side, columns * side, 3)  # [rows*side, columns*side, 3]
    png = io.BytesIO()
    Image.fromarray(flat).save(png, "png", optimize=True)
    return Sprite(data_url(png.getvalue()), columns, rows, side)
