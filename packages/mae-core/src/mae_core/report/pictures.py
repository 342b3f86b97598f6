"""Pictures inside a page: PNG as data, with the words for those who do not see them."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mae_core.files import png_bytes
from mae_core.report.page import part

_LARGEST = 320  # pixels; larger pictures only make the page heavy
_EXACT = (
    64  # pixels, up to which the page enlarges them so that each is seen; larger ones are JPEG, a fifth of the size
)


@dataclass(frozen=True)
class Tile:
    """A picture of a grid.

    Args:
        source: its data as a URL.
        alt: what it shows.
        label: what stands below it.
    """

    source: str
    alt: str
    label: str = ""


def tile(image: NDArray[np.uint8], alt: str, label: str = "") -> Tile:
    """Make a tile of pixels [H, W, 1 or 3]; the page enlarges them without blurring."""
    picture = Image.fromarray(np.ascontiguousarray(image.squeeze(-1) if image.shape[-1] == 1 else image))
    picture.thumbnail((_LARGEST, _LARGEST))
    if max(picture.size) <= _EXACT:
        return Tile(data_url(png_bytes(picture.save)), alt, label)
    jpeg = io.BytesIO()
    picture.save(jpeg, format="jpeg", quality=88)
    return Tile(data_url(jpeg.getvalue(), "jpeg"), alt, label)


def columns_for(count: int, most: int) -> int:
    """Return how many columns, half of `most` to `most`, leave the fewest gaps in the last row."""
    most = min(count, most)
    return min(range(most, most // 2, -1), key=lambda columns: -count % columns)


def data_url(image: bytes, kind: str = "png") -> str:
    """Return an image file, "png" or "jpeg", as a URL that holds all of it."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def picture_of(path: Path, alt: str) -> Any:
    """Return the HTML of a PNG file."""
    return part("picture", data_url(path.read_bytes()), alt)
