"""Opening image files: every kind of file has one defined result, RGB or greyscale with 8 bits."""

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, features

from mae_data.errors import DataError, ImageError
from mae_data.images.bounds import MAX_PIXELS, check_promises, check_size
from mae_data.images.jpeg_header import orientation_of, turned_image
from mae_data.images.volumes.slices import read_slice, split_name

File = str | bytes | os.PathLike[str] | BinaryIO
# A fixed set: Pillow knows formats that run other programs (EPS) or that no image folder needs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".npy",
    ".jp2", ".j2k", ".heic", ".heif", ".avif", ".dcm", ".nii", ".nii.gz",
)  # fmt: skip
_AVIF = (b"avif", b"avis")
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
NEEDS_PILLOW_HEIF = 'HEIC needs pillow-heif: pip install "mae-data[heif]"'
NEEDS_PILLOW = "AVIF needs a Pillow that was built with it (11.3 and above are): pip install --upgrade pillow"


def open_image(file: File, channels: int = 3, max_pixels: int = MAX_PIXELS, *, exif: bool = True) -> Image.Image:
    """Open and decode an image.

    | file                       | result                                                             |
    |----------------------------|--------------------------------------------------------------------|
    | 8-bit RGB or greyscale     | as it is; greyscale repeats over RGB, RGB to L by ITU-R 601 luma    |
    | CMYK (with Adobe marker)   | Pillow's plain conversion to RGB, no colour profile                |
    | 16-bit                     | the high byte (value // 256), never clipped; `read_image` keeps all |
    | 32-bit integer, float      | refused: their range is not known                                  |
    | alpha                      | dropped; the colours below it show, nothing is composited          |
    | palette, 1-bit             | the palette's colours; 0 and 255                                   |
    | HEIC, AVIF                 | as 8-bit pictures; HEIC needs pillow-heif, AVIF Pillow 11.3         |
    | EXIF rotation              | applied, as people see the picture; not where `exif` is False      |
    | animated                   | the first frame                                                    |
    | 1x1                        | accepted                                                           |
    | truncated, empty, no image | refused                                                            |

    Args:
        file: file name, or a file that is open for reading.
        channels: 3 for mode RGB, 1 for mode L.
        max_pixels: larger images are refused from their header, before anything is decoded. Pillow
            refuses more than 178,956,970 pixels whatever is given here.
        exif: turn the picture as its EXIF tag says; TIFF and HEIC are turned in any case, by their decoders.

    Returns:
        the decoded image in mode RGB or L; a file that was given by its name is closed.

    Raises:
        DataError: the file cannot be read or is not a usable image; the message starts with the file's name.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}; use 1 (greyscale) or 3 (RGB)")
    with named_errors(file), opened(file) as source:
        check_promises(source, max_pixels)
        return decode_picture(source, channels, max_pixels, exif)


def decode_picture(file: BinaryIO, channels: int, max_pixels: int, exif: bool = True) -> Image.Image:
    """Decode an open file as `open_image` does."""
    with open_picture(file) as image:
        check_size(image.width, image.height, max_pixels)
        image.load()
        picture = _to_8_bit(image, "RGB" if channels == 3 else "L")
        return turned_image(picture, orientation_of(image)) if exif else picture


def open_picture(file: BinaryIO) -> Image.Image:
    """Open an image file with Pillow, HEIC and AVIF where they can be read; nothing is decoded yet.

    Raises:
        DataError: it is of a kind that needs what is not installed, or a damaged one.
    """
    head = file.read(32)
    file.seek(0)
    if not is_heif(head):
        return Image.open(file, formats=FORMATS)
    kind = plugin_format(head)
    try:
        return Image.open(file, formats=(kind,))
    except Image.UnidentifiedImageError:
        raise DataError(f"cannot decode the image (damaged {kind})") from None


@contextmanager
def named_errors(file: File) -> Iterator[None]:
    """Turn whatever reading an image raises into an ImageError that starts with its name."""
    try:
        yield
    except DataError as error:
        raise ImageError(_printable(file), str(error)) from error
    except Exception as error:  # on damaged files decoders raise nearly anything
        raise ImageError(_printable(file), _reason(error)) from error


def convert_image(image: Image.Image, channels: int = 3, exif: bool = True) -> Image.Image:
    """Convert an image that is open already as `open_image` does.

    Raises:
        DataError: It is not a usable image.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}; use 1 (greyscale) or 3 (RGB)")
    try:
        picture = _to_8_bit(image.copy(), "RGB" if channels == 3 else "L")
        return turned_image(picture, orientation_of(image)) if exif else picture
    except Exception as error:
        raise ImageError(str(getattr(image, "filename", "")) or "image", _reason(error)) from error


def _to_8_bit(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Older Pillow opens 16-bit PNG and PGM in mode I; convert() would clip all of these to 255.
        high_byte = (np.asarray(image) >> 8).astype(np.uint8)
        image = Image.fromarray(high_byte)
    elif image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no known range; save it with 8 or 16 bits")
    # A palette's transparency would only make Pillow warn on the way to RGB.
    image.info.pop("transparency", None)
    return image.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot read the file ({error.strerror})"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not an image, or none of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        return "its header promises more pixels than any image here may have; scale the image down"
    first_line = (str(error) or type(error).__name__).splitlines()[0]
    return f"cannot decode the image ({first_line})"


def opened(file: File) -> AbstractContextManager[BinaryIO]:
    """Open a file, or a slice of one, for reading; leave one that is open to whoever opened it."""
    if not isinstance(file, str | bytes | os.PathLike):
        return nullcontext(file)
    found = split_name(os.fsencode(file))
    return io.BytesIO(read_slice(*found, MAX_PIXELS)) if found else open(file, "rb")


def _printable(file: File) -> str:
    if isinstance(file, str | bytes | os.PathLike):
        return str(Path(os.fsdecode(file)))
    return str(getattr(file, "name", "image"))


def is_heif(head: bytes) -> bool:
    """Return whether, by its first 32 bytes, a file is HEIC or AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _AVIF + _HEIF


def plugin_format(head: bytes) -> str:
    """Make Pillow know the format of such a file, and return what Pillow calls it.

    Raises:
        DataError: what is needed is not installed.
    """
    if any(brand in head[8:32] for brand in _AVIF):
        if "avif" not in features.modules or not features.check("avif"):
            raise DataError(NEEDS_PILLOW)
        return "AVIF"
    if "HEIF" not in Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise DataError(NEEDS_PILLOW_HEIF) from None
        register_heif_opener()
    return "HEIF"
