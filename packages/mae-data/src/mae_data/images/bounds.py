"""Refusing images that cost more than they hold, from what their headers promise, before anything is decoded.

Time and memory of decoding follow what is promised, not what is there: a file of 2 kB can promise thousands of scans
or strips that each inflate without end.
"""

import importlib.util
import io
import lzma
import struct
import zlib
from typing import BinaryIO

from mae_data.errors import DataError
from mae_data.images.jpeg_header import BEGIN, FEW_SCANS, Frame, read_frame
from mae_data.images.tiff_directory import MAGICS, TiffPage, read_pages

# Pillow's own warning level; Pillow itself only refuses at twice this.
MAX_PIXELS = 89_478_485
# Of a decoded image: any 8-bit RGB of MAX_PIXELS; an image that takes more must be a larger file.
MAX_BYTES, MAX_RATIO = 3 * MAX_PIXELS, 100
# Each scan costs time for every pixel once again.
MAX_SCANS, MAX_SCANNED = 100, 1_000_000_000
_MULTISCAN_BYTES = 3  # of a component of a pixel: its coefficient of 16 bits is kept until the last scan
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by type of colour
_DEFLATE, _LZMA, _JPEG = (8, 32946), 34925, (6, 7)
_DICTIONARY = 1 << 27  # bytes that lzma may take; it asks for up to 4 GB


def check_promises(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a file whose header promises more than an image may cost.

    Args:
        file: open for reading; left at its beginning.
        max_pixels: of an image.

    Raises:
        DataError: it does; the message says what it promises.
    """
    file.seek(0)
    head = file.read(132)
    file.seek(0)
    if head.endswith(b"DICM"):  # what is before may look like a TIFF
        return
    try:
        if head.startswith(BEGIN):
            check_jpeg(file.read(), max_pixels)
        elif head.startswith(MAGICS):
            _check_tiff(file, max_pixels)
        elif head.startswith(_PNG) and len(head) > 25:
            width, height, depth, colours = struct.unpack(">IIBB", head[16:26])
            check_size(width, height, max_pixels)
            check_bytes(file, width * height * _PNG_CHANNELS.get(colours, 4) * max(depth, 8) // 8)
    except struct.error:
        pass  # cut off: the message of the decoder is clearer
    finally:
        file.seek(0)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image that is too large to be decoded."""
    if width * height > max_pixels:
        raise DataError(
            f"{width}x{height} pixels are above the limit of {max_pixels} for an image that is decoded whole; save"
            " it as a tiled TIFF of one page, of which windows are read, or scale it down"
        )


def check_bytes(file: BinaryIO, promised: int) -> None:
    """Refuse an image that decodes to many more bytes than its file has; the file is left where it was."""
    place = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(place)
    check_growth(promised, size)


def check_jpeg(data: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a JPEG of too many pixels or scans."""
    if frame := read_frame(data):
        check_frame(frame, len(data), max_pixels)


def check_frame(frame: Frame, size: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse what a JPEG of so many bytes promises, where that is too much."""
    check_size(frame.width, frame.height, max_pixels)
    pixels = max(frame.width * frame.height, 1)
    samples = pixels * len(frame.components)
    check_growth(samples * (_MULTISCAN_BYTES if frame.scans > 1 else 1), size)
    limit = max(FEW_SCANS, min(MAX_SCANS, MAX_SCANNED // pixels))
    if frame.scans > limit:
        raise DataError(f"a JPEG of {frame.scans} scans, above the limit of {limit} for its size; save it anew")


def check_growth(promised: int, size: int) -> None:
    """Refuse what becomes many more bytes than a file of `size` bytes holds."""
    limit = growth_limit(size)
    if promised > limit:
        raise DataError(
            f"its header promises {promised / 1e6:,.0f} MB of pixels, above the limit of {limit / 1e6:,.0f} MB for a"
            f" file of {size / 1e6:,.3f} MB; scale the image down, or save it anew"
        )


def growth_limit(size: int) -> int:
    """Return how many bytes a file of `size` bytes may become."""
    return max(MAX_BYTES, MAX_RATIO * size)


def _check_tiff(file: BinaryIO, max_pixels: int) -> None:
    pages = read_pages(file)
    for page in pages:
        check_size(page.width, page.height, max_pixels)
        if page.segments > page.listed:
            raise DataError(f"it consists of {page.segments} strips or tiles, and {page.listed} are there")
    check_bytes(file, sum(page.segments * page.segment_bytes for page in pages))
    for page in pages:
        _check_segments(page, max_pixels)


def _check_segments(page: TiffPage, max_pixels: int) -> None:
    """Refuse a page whose strips decode to more than they should; most decoders see to that themselves."""
    # imagecodecs stops at what is promised. Without it, tifffile inflates to the end.
    inflates = page.compression in _DEFLATE and importlib.util.find_spec("imagecodecs") is None
    if not inflates and page.compression not in (_LZMA, *_JPEG):
        return
    for stored in page.stored():
        if page.compression in _JPEG:
            check_jpeg(stored, max_pixels)
        elif not _ends_by(stored, page.segment_bytes, page.compression == _LZMA):
            raise DataError(f"a strip or tile of {page.segment_bytes} bytes inflates to more; save the image anew")


def _ends_by(stored: bytes, limit: int, is_lzma: bool) -> bool:
    """Return whether compressed data end after as many bytes as were promised; the decoder judges damaged ones."""
    decoder = lzma.LZMADecompressor(memlimit=_DICTIONARY) if is_lzma else zlib.decompressobj()
    try:
        return len(decoder.decompress(stored, limit + 1)) <= limit
    except (zlib.error, lzma.LZMAError) as error:
        return "Memory usage limit" not in str(error)
