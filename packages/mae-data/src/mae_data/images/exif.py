"""The orientation that cameras write beside pixels: how a stored picture is to be turned to stand upright.

Numbers are those of EXIF: 1 upright; 2 to 4 mirrored or upside down; 5 to 8 with rows and columns exchanged.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

TAG = 0x0112
_SHORT, _LONG = 3, 4
_APP1, _SCAN, _FILL = 0xE1, 0xDA, 0xFF
_MOST_ENTRIES = 1000
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Box = tuple[int, int, int, int]


def orientation_of(image: Image.Image) -> int:
    """Return the orientation that an open image carries; 1 where it has none, or one that cannot be read."""
    try:
        found = image.getexif().get(TAG, 1)
    except Exception:  # damaged EXIF raises nearly anything; the pixels are none the worse
        return 1
    return found if found in _TURNS else 1


def turned_image(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture upright, as Pillow's `ImageOps.exif_transpose` does."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def turned_pixels(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn pixels [H, W, C] upright."""
    if orientation in (3, 4, 7, 8):  # of rows and columns exchanged, these are the other end's
        pixels = pixels[::-1] if orientation in (3, 4) else pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1] if orientation in (2, 3) else pixels[::-1]
    return np.ascontiguousarray(pixels.transpose(1, 0, 2) if orientation > 4 else pixels)


def stored_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return where a box (top, left, height, width) of an upright picture of (height, width) lies as stored."""
    top, left, height, width = box
    upside_down = size[0] - top - height if orientation in (3, 4, 7, 8) else top
    mirrored = size[1] - left - width if orientation in (2, 3, 6, 7) else left
    return (mirrored, upside_down, width, height) if orientation > 4 else (upside_down, mirrored, height, width)


def jpeg_orientation(data: bytes) -> int:
    """Read the orientation from the header of a JPEG file, as Pillow does; 1 where there is none."""
    exif, xmp, place = b"", b"", 2
    while place + 4 <= len(data) and data[place] == _FILL:
        marker = data[place + 1]
        if marker == _FILL:
            place += 1
            continue
        if marker == _SCAN:
            break
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == _APP1:
            if data.startswith(b"Exif\0\0", place + 4):
                exif += data[place + 10 : end]
            elif data.startswith(b"http://ns.adobe.com/xap/", place + 4):
                xmp = data[place + 4 : end]
        place = end
    found = _tag(exif) if exif else None
    if found is None and (match := _XMP.search(xmp)):
        found = int(match[1])
    return found if found in _TURNS else 1


def _tag(tiff: bytes) -> int | None:
    """Return the orientation of the first folder of tags."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return None

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for place in range(first + 2, first + 2 + 12 * min(number(first, 2), _MOST_ENTRIES), 12):
        if number(place, 2) == TAG:
            kind = number(place + 2, 2)
            return number(place + 8, {_SHORT: 2, _LONG: 4}[kind]) if kind in (_SHORT, _LONG) else None
    return None
