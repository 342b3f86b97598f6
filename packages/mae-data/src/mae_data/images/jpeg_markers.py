"""The marker segments of JPEG files (ITU-T T.81, annex B), read without decoding anything."""

import re
from collections.abc import Iterator
from typing import NamedTuple

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
