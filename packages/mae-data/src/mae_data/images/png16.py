"""PNG files of 16 bits per channel: Pillow has modes for one such channel only and drops the lower bytes of more."""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.images.formats import check_size

DEPTH_AT = 24  # byte of a PNG that holds the bits per channel
# Pillow's decoder is told how samples lie in a row. Told that they begin with their lower byte, it takes for the
# upper byte what is the lower one; of two channels, the four bytes are those of an 8-bit RGBA pixel.
_LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_FOUR_BYTES = "LA;16B"


def read_png16(file: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint16]:
    """Read the pixels [H, W, C] of a 16-bit PNG, none of their bits lost.

    Args:
        file: open at its beginning.
        max_pixels: larger images are refused from their header.
    """
    with Image.open(file, formats=("PNG",)) as image:
        check_size(image.width, image.height, max_pixels)
        layout = _layout(image)
        if layout == _FOUR_BYTES:
            _read_as(image, "RGBA")
            return np.asarray(image).view(">u2").astype(np.uint16)
        upper = np.asarray(image)
    if layout not in _LOWER:  # one channel; older Pillow gives it 32 bits
        return upper.astype(np.uint16)[:, :, None]
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as image:
        _read_as(image, _LOWER[layout])
        return upper.astype(np.uint16) << 8 | np.asarray(image)


def _layout(image: Image.Image) -> str:
    return str(image.tile[0][3])  # type: ignore[attr-defined]


def _read_as(image: Image.Image, layout: str) -> None:
    tile = image.tile[0]  # type: ignore[attr-defined]
    is_named = hasattr(tile, "_replace")  # older Pillow has plain tuples
    image.tile = [tile._replace(args=layout) if is_named else (*tile[:3], layout)]  # type: ignore[attr-defined]
