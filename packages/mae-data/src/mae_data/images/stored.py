"""Reading images as the data path takes them: 8-bit pictures by Pillow, all else as stored.

Nothing is scaled or cut here: an image that is not of the stated channels, type and range is refused.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images import tiff
from mae_data.images.bands import Bands, band_names, take_bands
from mae_data.images.bounds import MAX_PIXELS, check_promises, check_size
from mae_data.images.formats import File, decode_picture, named_errors, open_picture, opened
from mae_data.images.jpeg_header import orientation_of, turned_pixels
from mae_data.images.nodata import (
    Nodata,
    check_kind,
    check_type,
    check_values,
    filled_pixels,
    nodata_of_file,
    with_coverage,
)
from mae_data.images.value_range import EIGHT_BITS, Planes, ValueRange
from mae_data.images.volumes import arrays
from mae_data.images.volumes.slices import fit_medical, is_medical, read_medical
from mae_data.images.volumes.slices import is_picture as is_8_bit_pixels

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEAD = 512
_AS_STORED = ("L", "LA", "RGB", "RGBA", "CMYK")  # other modes of Pillow become RGB
_DEPTH_AT = 24  # byte of a PNG that holds the bits per channel
# Pillow's decoder takes a description of how samples lie in a row. Where that says that they begin with their lower
# byte, it takes for the upper byte what is the lower one; of two channels, the four bytes are those of an 8-bit
# RGBA pixel.
_LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_FOUR_BYTES = "LA;16B"


class Stored(NamedTuple):
    """What a file holds.

    Attributes:
        channels: how many; 3 where it is an 8-bit picture.
        dtype: the type of a value.
    """

    channels: int
    dtype: np.dtype[Any]


PICTURE = Stored(3, np.dtype(np.uint8))  # 8 bits, grey or RGB


def read_image(
    file: File,
    channels: int = 3,
    limits: ValueRange = EIGHT_BITS,
    max_pixels: int = MAX_PIXELS,
    *,
    bands: Bands | None = None,
    exif: bool = True,
    nodata: Nodata | None = None,
) -> Image.Image | Planes:
    """Read an image of a data set whose channels and value range are stated.

    8-bit pictures, where 1 or 3 channels and the range 255 are stated, are read and converted as `open_image` says.
    All else is taken as stored: `.npy` [H, W] or [H, W, C], PNG of 8 or 16 bits, TIFF. Of TIFF every band and page
    counts, at every depth, one that is tagged as alpha too; where 0 is white (MINISWHITE), unsigned integers are
    turned so that 0 is black. What is not used must be chosen by `bands`. DICOM and NIfTI are in the unit that they
    state, and cut to a range of floats, which is a window on them; `images.volumes.slices` names one of their slices.

    Args:
        file: file name, or a file that is open at its beginning.
        channels: how many the image must have.
        limits: the value range; it says the type, too.
        max_pixels: larger images are refused from their header.
        bands: the bands to take, by number from 0 or by the file's names, in this order; pictures too are taken as
            stored then. None: all.
        exif: turn 8-bit pictures as their EXIF tag says; all else is as stored.
        nodata: what stands for no data, and what becomes of it; None: all values are data. DICOM and NIfTI are cut to
            the range, and state nothing.

    Raises:
        DataError: the file cannot be read, or contradicts channels or range; the message starts with the file's name.
    """
    with named_errors(file), opened(file) as source:
        image, names = _read_bands(source, channels, limits, max_pixels, bands, exif)
        if isinstance(image, Image.Image) and nodata is None:
            return image
        return as_read(_as_array(image), channels, limits, names, nodata, lambda: nodata_of_file(source))


def read_masked(
    file: File, channels: int, limits: ValueRange, nodata: Nodata, *, bands: Bands | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read an image as `read_image` does; return its pixels [H, W, C], filled in, and which values are data."""
    with named_errors(file), opened(file) as source:
        image, names = _read_bands(source, channels, limits, MAX_PIXELS, bands, exif=True)
        return filled_pixels(_as_array(image), channels, limits, names, nodata, lambda: nodata_of_file(source))


def _as_array(image: Image.Image | npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.atleast_3d(np.asarray(image))


def _read_bands(
    file: BinaryIO, channels: int, limits: ValueRange, max_pixels: int, bands: Bands | None, exif: bool
) -> tuple[Image.Image | npt.NDArray[Any], tuple[str, ...]]:
    """Read a picture, or the bands that are asked for [H, W, C] and, where they are too many, their names."""
    check_promises(file, max_pixels)
    is_plain = limits == EIGHT_BITS and channels in (1, 3)
    fits = is_medical(file)
    is_picture = not fits and is_8_bit_picture(file, is_plain or bands is not None)
    if is_picture and is_plain and bands is None:
        return decode_picture(file, channels, max_pixels, exif), ()
    pixels = _read_pixels(file, is_picture, max_pixels, exif)
    names: tuple[str, ...] = ()
    if bands is not None or pixels.shape[2] != channels:
        file.seek(0)
        names = band_names(file, pixels.shape[2])
    if bands is not None:
        pixels, names = take_bands(pixels, bands, names), ()
    return (fit_medical(pixels, channels, limits) if fits else pixels), names


def as_read(
    pixels: npt.NDArray[Any],
    channels: int,
    limits: ValueRange,
    names: Sequence[str] = (),
    nodata: Nodata | None = None,
    file_says: Callable[[], float | None] = lambda: None,
) -> Image.Image | Planes:
    """Check pixels [H, W, C] as stored, fill in what are no data, and return them as transforms take them."""
    if nodata is not None:
        pixels, valid = filled_pixels(pixels, channels, limits, names, nodata, file_says)
        if nodata.coverage:
            return Planes(with_coverage(pixels, valid, limits), limits)
    else:
        pixels = check_values(check_kind(pixels, channels, limits, names), limits)
    if limits == EIGHT_BITS and channels in (1, 3):
        return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)
    return Planes(pixels, limits)


def inspect_image(file: File, max_pixels: int = MAX_PIXELS) -> Stored:
    """Decode an image of any channels and type, and say what it holds.

    Raises:
        DataError: the file cannot be read; the message starts with the file's name.
    """
    with named_errors(file), opened(file) as source:
        check_promises(source, max_pixels)
        fits = is_medical(source)
        if not fits and is_8_bit_picture(source):
            decode_picture(source, 3, max_pixels)
            return PICTURE
        pixels = _read_pixels(source, False, max_pixels)
        if fits and is_8_bit_pixels(pixels):
            return Stored(3, pixels.dtype)
        check_type(pixels.dtype)
        return Stored(pixels.shape[2], pixels.dtype)


def is_8_bit_picture(file: BinaryIO, looks_into_tiff: bool = True) -> bool:
    """Return whether a file is one that Pillow reads without dropping bits, or none at all; back to its beginning.

    Args:
        looks_into_tiff: TIFF may be such a picture; judging that takes as long as reading a small one.
    """
    head = file.read(_HEAD)
    file.seek(0)
    if head.startswith(arrays.MAGIC):
        return False
    if head.startswith(tiff.MAGICS):
        return looks_into_tiff and tiff.is_8_bit(file)
    if head.startswith(_PNG_MAGIC):
        return head[_DEPTH_AT : _DEPTH_AT + 1] != b"\x10"
    return not (head[:2] in (b"P5", b"P6") and _largest_value(head) > 255)


def _largest_value(head: bytes) -> int:
    """Return the value that counts as white in a PPM or PGM file; 0 where its header is damaged."""
    words = re.sub(rb"#[^\n]*\n", b" ", head).split(maxsplit=4)
    return int(words[3]) if len(words) > 3 and words[3].isdigit() else 0


def _read_pixels(file: BinaryIO, is_picture: bool, max_pixels: int, exif: bool = False) -> npt.NDArray[Any]:
    """Read pixels [H, W, C] as stored."""
    magic = file.read(len(_PNG_MAGIC))
    file.seek(0)
    if is_medical(file):
        return read_medical(file, max_pixels)
    if magic.startswith(arrays.MAGIC):
        return arrays.read_npy(file, max_pixels)
    if magic.startswith(tiff.MAGICS) and not is_picture:
        return tiff.read_tiff(file, max_pixels)
    if magic == _PNG_MAGIC and not is_picture:
        return read_png16(file, max_pixels)
    if not is_picture:
        raise DataError("a 16-bit PPM or PGM file; save it as PNG or TIFF")
    with open_picture(file) as image:
        check_size(image.width, image.height, max_pixels)
        pixels = np.atleast_3d(np.asarray(image if image.mode in _AS_STORED else image.convert("RGB")))
        return turned_pixels(pixels, orientation_of(image)) if exif else pixels


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
