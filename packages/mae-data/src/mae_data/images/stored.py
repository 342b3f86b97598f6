"""Reading images as the data path takes them: 8-bit pictures by Pillow, all else as stored.

Nothing is scaled or cut here: an image that is not of the stated channels, type and range is refused.
"""

import re
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images import npy, tiff
from mae_data.images.bands import Bands, band_names, list_bands, take_bands
from mae_data.images.bounds import MAX_PIXELS, check_promises, check_size
from mae_data.images.exif import orientation_of, turned_pixels
from mae_data.images.formats import File, decode_picture, named_errors, open_picture, opened
from mae_data.images.medical import fit_medical, is_medical, read_medical
from mae_data.images.medical import is_picture as is_8_bit_pixels
from mae_data.images.multiband import Planes
from mae_data.images.png16 import DEPTH_AT, read_png16
from mae_data.images.value_range import EIGHT_BITS, ValueRange

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEAD = 512
_AS_STORED = ("L", "LA", "RGB", "RGBA", "CMYK")  # other modes of Pillow become RGB
# By the type of a range: the types that it takes, which lose no bit on the way.
_EXACT = {"uint8": ("uint8",), "uint16": ("uint16",), "float32": ("float32", "float16", "int16", "int8")}
_ADVICE = {
    "uint8": "255 is that of 8 bits",
    "uint16": "state the white of its integers, such as 65535",
    "float32": "state the range of its floats as [low, high]",
    "float16": "state the range of its floats as [low, high]",
    "int16": "state the range of its numbers as [low, high]",
    "int8": "state the range of its numbers as [low, high]",
}


class Stored(NamedTuple):
    """What a file holds.

    Attributes:
        channels: how many; 3 where it is an 8-bit picture.
        dtype: the type of a value.
    """

    channels: int
    dtype: np.dtype[Any]


def read_image(
    file: File,
    channels: int = 3,
    limits: ValueRange = EIGHT_BITS,
    max_pixels: int = MAX_PIXELS,
    *,
    bands: Bands | None = None,
    exif: bool = True,
) -> Image.Image | Planes:
    """Read an image of a data set whose channels and value range are stated.

    8-bit pictures, where 1 or 3 channels and the range 255 are stated, are read and converted as `open_image` says.
    All else is taken as stored: `.npy` [H, W] or [H, W, C], PNG of 8 or 16 bits, TIFF. Of TIFF every band and page
    counts, at every depth, one that is tagged as alpha too; where 0 is white (MINISWHITE), unsigned integers are
    turned so that 0 is black. What is not used must be chosen by `bands`. DICOM and NIfTI are in the unit that they
    state, and cut to a range of floats, which is a window on them; `images.slices` names one of their slices.

    Args:
        file: file name, or a file that is open at its beginning.
        channels: how many the image must have.
        limits: the value range; it says the type, too.
        max_pixels: larger images are refused from their header.
        bands: the bands to take, by number from 0 or by the file's names, in this order; pictures too are taken as
            stored then. None: all.
        exif: turn 8-bit pictures as their EXIF tag says; all else is as stored.

    Raises:
        DataError: the file cannot be read, or contradicts channels or range; the message starts with the file's name.
    """
    is_plain = limits == EIGHT_BITS and channels in (1, 3)
    with named_errors(file), opened(file) as source:
        check_promises(source, max_pixels)
        fits = is_medical(source)
        is_picture = not fits and is_8_bit_picture(source, is_plain or bands is not None)
        if is_picture and is_plain and bands is None:
            return decode_picture(source, channels, max_pixels, exif)
        pixels = _read_pixels(source, is_picture, max_pixels, exif)
        names: tuple[str, ...] = ()
        if bands is not None or pixels.shape[2] != channels:
            source.seek(0)
            names = band_names(source, pixels.shape[2])
        if bands is not None:
            pixels, names = take_bands(pixels, bands, names), ()
        if fits:
            pixels = fit_medical(pixels, channels, limits)
        pixels = check_pixels(pixels, channels, limits, names)
    if is_plain:
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
            return Stored(3, np.dtype(np.uint8))
        pixels = _read_pixels(source, False, max_pixels)
        if fits and is_8_bit_pixels(pixels):
            return Stored(3, pixels.dtype)
        if pixels.dtype.name not in _ADVICE:
            raise DataError(_refused_type(pixels.dtype))
        return Stored(pixels.shape[2], pixels.dtype)


def is_8_bit_picture(file: BinaryIO, looks_into_tiff: bool = True) -> bool:
    """Tell whether a file is one that Pillow reads without dropping bits, or none at all; back to its beginning.

    Args:
        looks_into_tiff: TIFF may be such a picture; judging that takes as long as reading a small one.
    """
    head = file.read(_HEAD)
    file.seek(0)
    if head.startswith(npy.MAGIC):
        return False
    if head.startswith(tiff.MAGICS):
        return looks_into_tiff and tiff.is_8_bit(file)
    if head.startswith(_PNG_MAGIC):
        return head[DEPTH_AT : DEPTH_AT + 1] != b"\x10"
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
    if magic.startswith(npy.MAGIC):
        return npy.read_npy(file, max_pixels)
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


def check_pixels(
    pixels: npt.NDArray[Any], channels: int, limits: ValueRange, names: Sequence[str] = ()
) -> npt.NDArray[Any]:
    """Return pixels in the type of the range; refuse those that contradict it or the number of channels."""
    wanted, kind, count = np.dtype(limits.dtype), pixels.dtype.name, pixels.shape[2]
    others = "" if count == channels else f"; the image has {list_bands(count, names)}, {channels} are asked for"
    if kind not in _ADVICE:
        raise DataError(_refused_type(pixels.dtype))
    if kind not in _EXACT[wanted.name]:
        advice = f"{_ADVICE[kind]} (VALUE_RANGE, --value-range)"
        raise DataError(
            f"{kind} values, but the value range {limits} is one of {wanted.name}: {advice}"
            + (f"{others} (IMAGE_CHANNELS, --channels)" if others else "")
        )
    if others:
        choice = f" or choose bands, such as {list(range(channels))} (BANDS, --bands)" if count > channels else ""
        raise DataError(f"{others[2:]}: state {count} (IMAGE_CHANNELS, --channels){choice}")
    pixels = pixels.astype(wanted, copy=False)
    low, high = pixels.min(), pixels.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError("the image holds NaN or infinite values; fill them with numbers of the value range")
    if low < limits.bounds[0] or high > limits.bounds[1]:
        raise DataError(f"values from {low:g} to {high:g} leave the value range {limits}; state a wider one")
    return pixels


def _refused_type(dtype: np.dtype[Any]) -> str:
    return f"{dtype.name} values; save uint8, uint16 or float32"
