"""The directories of TIFF files (TIFF 6.0; BigTIFF), read with bounds and without decoding anything."""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mae_data.errors import DataError

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: more than 4 GB
MAX_PAGES = 4096
_SLACK = 1 << 20
# By the number of a type: its size, and struct's letter where it is an unsigned integer.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ASCII = 2
_SUBFILE, _REDUCED_OR_MASK = 254, 1 | 4
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR = (
    256, 257, 258, 259, 273, 277, 278, 279, 284,
)  # fmt: skip
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325


@dataclass(frozen=True)
class _Tag:
    kind: int
    count: int
    place: int  # of its values in the file


@dataclass
class TiffPage:
    """What a directory promises.

    Attributes:
        width, height: in pixels.
        compression: number of the method.
        segments: strips or tiles that the image consists of.
        segment_bytes: what one of them decodes to.
        listed: strips or tiles whose place is in the directory.
    """

    width: int
    height: int
    compression: int
    segments: int
    segment_bytes: int
    listed: int
    _reader: "_Reader"
    _tags: dict[int, _Tag]

    def stored(self) -> Iterator[bytes]:
        """Yield the strips or tiles as they are in the file; those that are left out are not there."""
        offsets = self._reader.numbers(self._tags.get(_TILE_OFFSETS) or self._tags.get(_OFFSETS))
        counts = self._reader.numbers(self._tags.get(_TILE_COUNTS) or self._tags.get(_COUNTS))
        for offset, count in zip(offsets, counts, strict=False):
            if offset and count:
                yield self._reader.read(offset, count)

    @property
    def is_picture(self) -> bool:
        """Whether it is not a smaller copy of another page, nor its mask."""
        return not self.number(_SUBFILE, 0) & _REDUCED_OR_MASK

    def number(self, tag: int, otherwise: int) -> int:
        """Return the first number of a tag."""
        return next(iter(self._reader.numbers(self._tags.get(tag))), otherwise)

    def text(self, tag: int) -> str:
        """Return the text of a tag, up to its first NUL, cut after 256 bytes; empty where there is no such text."""
        found = self._tags.get(tag)
        if found is None or found.kind != _ASCII:
            return ""
        return self._reader.read(found.place, min(found.count, 256)).split(b"\0")[0].decode("ascii", "replace").strip()


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size = file, file.seek(0, io.SEEK_END)
        magic = self.read(0, 4)
        self.order, self.big = ("<" if magic[:1] == b"I" else ">"), 43 in magic[2:]

    def read(self, place: int, count: int) -> bytes:
        self.file.seek(min(place, self.size))
        return self.file.read(min(count, self.size))

    def unpack(self, letters: str, place: int) -> tuple[int, ...]:
        return struct.unpack(self.order + letters, self.read(place, struct.calcsize("<" + letters)))

    def numbers(self, tag: _Tag | None) -> tuple[int, ...]:
        """Return the values of a tag; none where they are no integers, or not in the file."""
        if tag is None or tag.kind not in _LETTERS or tag.place + tag.count * _SIZES[tag.kind] > self.size:
            return ()
        return self.unpack(f"{tag.count}{_LETTERS[tag.kind]}", tag.place)


def read_pages(file: BinaryIO) -> list[TiffPage]:
    """Read what the pages of a TIFF promise; the file is left anywhere.

    Raises:
        DataError: there are too many pages, they lead in a circle, or hold one part of the file again and again.
        struct.error: the file is cut off.
    """
    reader = _Reader(file)
    place = reader.unpack("Q", 8)[0] if reader.big else reader.unpack("I", 4)[0]
    pages: list[TiffPage] = []
    seen: set[int] = set()
    held = 0
    while place:
        if place in seen:  # decoders would follow it for ever
            raise DataError("its pages lead in a circle; save it anew")
        seen.add(place)
        if len(seen) > MAX_PAGES:
            raise DataError(f"more than {MAX_PAGES} pages; save the image in a file of its own")
        try:
            tags, place = _read_directory(reader, place)
        except struct.error:
            if not pages:
                raise
            break  # decoders take what comes before
        held += sum(min(tag.count * _SIZES[tag.kind], reader.size) for tag in tags.values())
        if held > 2 * reader.size + _SLACK:
            raise DataError("its tags hold one part of the file again and again; save it anew")
        pages.append(_page(reader, tags))
    return pages


def _read_directory(reader: _Reader, place: int) -> tuple[dict[int, _Tag], int]:
    count_letter, entry_letters, link, inline = ("Q", "HHQ", "Q", 8) if reader.big else ("H", "HHI", "I", 4)
    (count,) = reader.unpack(count_letter, place)
    place += struct.calcsize("<" + count_letter)
    length = struct.calcsize("<" + entry_letters) + inline
    tags: dict[int, _Tag] = {}
    if count * length > reader.size:
        raise struct.error("more tags than the file could hold")
    entries = reader.read(place, count * length)
    for at in range(0, len(entries) - length + 1, length):
        number, kind, values = struct.unpack_from(reader.order + entry_letters, entries, at)
        if kind in _SIZES and number not in tags:
            value = place + at + length - inline
            is_inside = values * _SIZES[kind] <= inline
            tags[number] = _Tag(kind, values, value if is_inside else reader.unpack(link, value)[0])
    return tags, reader.unpack(link, place + count * length)[0]


def _page(reader: _Reader, tags: dict[int, _Tag]) -> TiffPage:
    def number(tag: int, otherwise: int) -> int:
        return max(reader.numbers(tags.get(tag)) or (otherwise,))

    width, height, samples = number(_WIDTH, 0), number(_HEIGHT, 0), number(_SAMPLES, 1)
    is_tiled = _TILE_WIDTH in tags
    across, down = (number(_TILE_WIDTH, 0), number(_TILE_HEIGHT, 0)) if is_tiled else (width, number(_ROWS, height))
    down = min(down, height) if not is_tiled else down
    planes = samples if number(_PLANAR, 1) == 2 else 1
    segments = math.ceil(width / across) * math.ceil(height / down) * planes if across and down else 0
    row = math.ceil(across * number(_BITS, 1) * (samples // planes) / 8)
    offsets = tags.get(_TILE_OFFSETS) or tags.get(_OFFSETS)
    return TiffPage(
        width, height, number(_COMPRESSION, 1), segments, row * down, offsets.count if offsets else 0, reader, tags
    )
