"""What stands before the pixels of a JPEG file: its marker segments (ITU-T T.81, annex B), and the EXIF orientation.

The orientation, which other files have too, says how a picture is to be turned to stand upright: 1 upright; 2 to 4
mirrored or upside down; 5 to 8 with rows and columns exchanged.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"
_SOS, _EOI, _SOF2 = 0xDA, 0xD9, 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # tables and an extension stand between them
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without content
_COEFFICIENTS = 64
# Encoders write 10 scans or so.
FEW_SCANS = 20
# A marker, of which entropy-coded data hold none but restarts.
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
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


class Frame(NamedTuple):
    """What a JPEG promises.

    Attributes:
        width, height: in pixels.
        components: their identifiers.
        progressive: whether its coefficients come in several scans.
        scans: how many there are; where they are few and not progressive, at most as many.
        complete: whether the scans give every bit of every coefficient, where it is progressive.
    """

    width: int
    height: int
    components: bytes
    progressive: bool
    scans: int
    complete: bool


def read_frame(data: bytes) -> Frame | None:
    """Read the first frame of a JPEG file; None where it has no sound one before its first scan."""
    frame, bits = None, {}
    scans = 0
    for marker, content in _segments(data):
        if marker in _FRAMES and frame is None and len(content) > 5 and len(content) >= 6 + 3 * content[5]:
            height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
            components = content[6 : 6 + 3 * content[5] : 3]
            frame = Frame(width, height, components, marker == _SOF2, 0, True)
            bits = {component: bytearray(b"\1" * _COEFFICIENTS) for component in components}
        elif marker == _SOS:
            if frame is None:
                return None
            scans += 1
            if scans == 1 and not frame.progressive and (most := data.count(b"\xff\xda")) <= FEW_SCANS:
                return frame._replace(scans=most)  # walking through all data takes a tenth of the time of decoding
            if frame.progressive:
                _note_scan(bits, content)
    return frame and frame._replace(scans=scans, complete=not (frame.progressive and any(map(any, bits.values()))))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield markers and what belongs to each, up to the end of the image."""
    place, next_marker = 2, _MARKER
    while found := next_marker.search(data, place):
        marker, place, next_marker = data[found.end() - 1], found.end(), _MARKER
        if marker == _EOI:
            return
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        yield marker, data[place + 2 : place + length]
        place += max(length, 2)
        if marker == _SOS:
            next_marker = _AFTER_SCAN


def _note_scan(bits: dict[int, bytearray], content: bytes) -> None:
    """Note for the coefficients of a progressive scan whether lower bits are yet to come."""
    count = content[0] if content else 0
    if len(content) < 4 + 2 * count:
        return
    first, last, position = content[1 + 2 * count : 4 + 2 * count]
    for component in content[1 : 1 + 2 * count : 2]:
        if component in bits and first <= last < _COEFFICIENTS:
            bits[component][first : last + 1] = bytes([position & 15]) * (last + 1 - first)


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
