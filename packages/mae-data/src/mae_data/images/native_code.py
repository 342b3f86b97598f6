"""The compiled part: bicubic resizing and decoding crops of JPEG files, without holding the interpreter's lock.

Both give the pixels that Pillow gives, bit for bit: which of the two works makes a difference in time only. The
library is built with the package where there is a C compiler. It decodes with the libjpeg-turbo that Pillow itself
is linked with, found at run time, and is used only after a trial has shown that the pixels are equal.
MAE_DATA_PIXELS=auto|native|pillow selects; "native" fails where "auto" would go on with Pillow.
"""

import ctypes
import functools
import io
import logging
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging

from mae_data.errors import InputError

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # (height, width)
Box = tuple[int, int, int, int]  # (top, left, height, width)

CHOICES = ("auto", "native", "pillow")
LIBRARY = Path(__file__).with_name("_pixels.so")
BICUBIC = Image.Resampling.BICUBIC

log = logging.getLogger(__name__)


class _Request(ctypes.Structure):
    """What is wanted; `Request` in csrc/pixels.h."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("left", "top", "right", "bottom")),
        *((name, ctypes.c_int) for name in ("width", "height")),
        *((f"window_{name}", ctypes.c_int) for name in ("left", "top", "width", "height")),
        ("flip", ctypes.c_int),
    )


def _request(box: Box, size: Size, window: Box | None, flip: bool) -> tuple[_Request, Size]:
    """Describe a resize; also return (height, width) of the result."""
    top, left, height, width = box
    y, x, rows, columns = window or (0, 0, *size)
    request = _Request(left, top, left + width, top + height, size[1], size[0], x, y, columns, rows, flip)
    return request, (rows, columns)


class Native:
    """The library; see `native`."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        if self._library.mae_jpeg_open(os.fsencode(_imaging.__file__)):
            raise OSError("Pillow's own libjpeg-turbo was not found")
        pointer, number, length = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
        self._library.mae_resize.argtypes = (pointer, number, number, number, pointer, pointer)
        self._library.mae_jpeg_size.argtypes = (ctypes.c_char_p, length, pointer)
        self._library.mae_jpeg_decode.argtypes = (ctypes.c_char_p, length, number, pointer)
        self._library.mae_jpeg_crop.argtypes = (ctypes.c_char_p, length, number, number, pointer, pointer)

    def resize(self, pixels: Pixels, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> Pixels:
        """Cut a box out of pixels [H, W, C] and resize it; see `resized`."""
        request, shape = _request(box, size, window, flip)
        pixels = np.ascontiguousarray(pixels)
        height, width, channels = pixels.shape
        out = np.empty((*shape, channels), np.uint8)
        if self._library.mae_resize(
            pixels.ctypes.data, width, height, channels, ctypes.byref(request), out.ctypes.data
        ):
            raise MemoryError(f"resizing {width}x{height} pixels")
        return out

    def jpeg_size(self, data: bytes) -> Size | None:
        """Read (height, width) from the header of a JPEG file; None where only Pillow can decode it."""
        size = (ctypes.c_int * 2)()
        return None if self._library.mae_jpeg_size(data, len(data), size) else (size[1], size[0])

    def decode_jpeg(self, data: bytes, size: Size, channels: int) -> Pixels | None:
        """Decode a JPEG file of a known size whole; None where Pillow has to do it."""
        out = np.empty((*size, channels), np.uint8)
        return None if self._library.mae_jpeg_decode(data, len(data), channels, out.ctypes.data) else out

    def crop_jpeg(
        self,
        data: bytes,
        box: Box,
        size: Size,
        window: Box | None = None,
        flip: bool = False,
        *,
        channels: int = 3,
        fast: bool = False,
    ) -> Pixels | None:
        """Decode a box of a JPEG file and resize it; None where Pillow has to do it.

        Args:
            data: the file.
            box, size, window, flip: as for `resized`.
            channels: 3 or 1.
            fast: let the decoder shrink first, to no less than twice `size`; not the same pixels.
        """
        request, shape = _request(box, size, window, flip)
        out = np.empty((*shape, channels), np.uint8)
        failed = self._library.mae_jpeg_crop(data, len(data), channels, fast, ctypes.byref(request), out.ctypes.data)
        return None if failed else out


@functools.cache
def native() -> Native | None:
    """Open the library, or return None where Pillow has to do all; the reason is logged once.

    Raises:
        InputError: MAE_DATA_PIXELS asks for the library, and it does not work; or the value is unknown.
    """
    choice = os.environ.get("MAE_DATA_PIXELS", "auto")
    if choice not in CHOICES:
        raise InputError(f"MAE_DATA_PIXELS={choice}; use one of {', '.join(CHOICES)}")
    if choice == "pillow":
        return None
    try:
        library = Native(LIBRARY)
        _try_out(library)
    except (OSError, AttributeError) as error:
        hint = "built without a C compiler?" if not LIBRARY.exists() else str(error)
        if choice == "native":
            raise InputError(f"MAE_DATA_PIXELS=native, but {LIBRARY.name} cannot be used: {hint}") from error
        log.warning("images are decoded and resized by Pillow alone, at a third of the speed (%s)", hint)
        return None
    return library


def _try_out(library: Native) -> None:
    """Compare a crop of a picture made here with Pillow's.

    Raises:
        OSError: they differ.
    """
    rows, columns = np.mgrid[:96, :96]
    picture = Image.fromarray(np.stack([rows * columns, rows * 37, columns * 91], -1).astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, subsampling=2)
    box, size = (37, 21, 45, 61), (20, 30)
    with Image.open(file) as image:
        wanted = pillow_resized(image, box, size)
    got = library.crop_jpeg(file.getvalue(), box, size)
    if got is None or not np.array_equal(got, wanted):
        raise OSError(f"its pixels are not those of Pillow {Image.__version__}")


def resized(image: Image.Image, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> Pixels:
    """Cut a box out of a decoded image and resize it (bicubic, antialiased).

    Cropping first keeps pixels outside the box out. The rows are resampled before the columns and rounded to 8 bits
    between, as Pillow does up to version 12; later ones sometimes begin with the columns.

    Args:
        image: of mode RGB or L.
        box: (top, left, height, width) in the image.
        size: (height, width) that the box is resized to.
        window: (top, left, height, width) of the part of it that is wanted; None for all.
        flip: mirror the result, left to right.

    Returns:
        uint8 [H, W, C].
    """
    library = native()
    if library is None:
        return pillow_resized(image, box, size, window, flip)
    top, left, height, width = box
    if (height, width) != (image.height, image.width):
        image = image.crop((left, top, left + width, top + height))
    return library.resize(_as_array(image), (0, 0, height, width), size, window, flip)


def pillow_resized(image: Image.Image, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> Pixels:
    """Do the same with Pillow alone."""
    top, left, height, width = box
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((size[1], height), BICUBIC).resize((size[1], size[0]), BICUBIC)
    if window:
        y, x, rows, columns = window
        image = image.crop((x, y, x + columns, y + rows))
    return _as_array(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image)


def _as_array(image: Image.Image) -> Pixels:
    """Copy an image of mode RGB or L to uint8 [H, W, C]."""
    array = np.array(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array
