"""Masks: images whose values are classes, read without any conversion, resized by the nearest pixel."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.files import write_atomically
from mae_data.images import tiff
from mae_data.images.bounds import MAX_PIXELS, check_promises, check_size
from mae_data.images.formats import File, named_errors, opened
from mae_data.images.native_code import Box, Size
from mae_data.images.volumes import arrays

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_MODES = ("1", "L", "P", "I", "I;16")  # one number a pixel; of a palette, the colour's number
_LARGEST = 2**16 - 1


def read_mask(file: File, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.integer]:
    """Read the class of each pixel.

    | file                          | classes                                                        |
    |-------------------------------|----------------------------------------------------------------|
    | PNG, greyscale, 8 or 16 bits  | its values                                                     |
    | PNG with a palette            | the numbers of its colours, not the colours                    |
    | PNG of 1 bit                  | 0 and 1                                                        |
    | TIFF of one band              | its integers                                                   |
    | `.npy` [H, W]                 | its integers                                                   |
    | colours, floats, JPEG         | refused: classes would be guessed                              |

    Args:
        file: file name, or a file that is open at its beginning.
        max_pixels: larger masks are refused from their header.

    Returns:
        [H, W], uint8 or, with values above 255, uint16.

    Raises:
        DataError: the file cannot be read or holds no classes; the message starts with the file's name.
    """
    with named_errors(file), opened(file) as source:
        check_promises(source, max_pixels)
        values = _read_values(source, max_pixels)
        if values.dtype.kind not in "uib":
            raise DataError(f"a mask of {values.dtype.name} values; save classes as integers")
        if values.size and (values.min() < 0 or values.max() > _LARGEST):
            raise DataError(f"a mask with values from {values.min()} to {values.max()}; classes are 0 to {_LARGEST}")
        return values.astype(np.uint8 if values.max(initial=0) <= 255 else np.uint16)


def _read_values(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    magic = file.read(len(_PNG_MAGIC))
    file.seek(0)
    if magic.startswith(arrays.MAGIC):
        return _one_band(arrays.read_npy(file, max_pixels))
    if magic.startswith(tiff.MAGICS):
        return _one_band(tiff.read_tiff(file, max_pixels))
    if magic != _PNG_MAGIC:
        raise DataError("a mask is neither PNG, TIFF nor .npy; JPEG changes values")
    with Image.open(file, formats=("PNG",)) as image:
        check_size(image.width, image.height, max_pixels)
        if image.mode not in _MODES:
            raise DataError(f"a mask of colours ({image.mode}); save the number of the class in each pixel")
        return np.asarray(image)


def _one_band(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if pixels.shape[2] != 1:
        raise DataError(f"a mask of {pixels.shape[2]} bands; save one, the number of the class in each pixel")
    return pixels[:, :, 0]


def write_mask(path: Path, classes: npt.NDArray[np.integer], colours: npt.NDArray[np.uint8]) -> None:
    """Write the class of each pixel as PNG, which `read_mask` reads: with a palette, or 16 bits of over 256 classes.

    Args:
        path: a file; one that exists is replaced.
        classes: [H, W] of uint8 or uint16.
        colours: uint8 [K, 3], of a palette.

    Raises:
        InputError: the folder cannot be written.
    """
    image = Image.fromarray(classes)
    if classes.dtype == np.uint8:
        image = Image.fromarray(classes, "P")
        image.putpalette(colours[:256].tobytes().ljust(3 * 256, b"\0"))  # a value that is no class is black
    data = io.BytesIO()
    image.save(data, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())


class MaskPicture:
    """A mask as transforms take it: with the same random numbers it is cut and turned as its image is.

    Args:
        classes: [H, W].
    """

    def __init__(self, classes: npt.NDArray[np.integer]) -> None:
        self.classes = classes
        self.height, self.width = map(int, classes.shape)

    def getbands(self) -> tuple[str, ...]:
        """Name the one channel."""
        return ("class",)

    def resized(self, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> npt.NDArray[np.integer]:
        """Cut a box out and resize it: each pixel is of the class at its centre, [H, W, 1]."""
        top, left, height, width = box
        y, x, rows, columns = window or (0, 0, *size)
        row = top + _nearest(np.arange(y, y + rows), height, size[0])
        column = left + _nearest(np.arange(x, x + columns), width, size[1])
        cut = self.classes[row[:, None], column[None, ::-1] if flip else column]
        return np.ascontiguousarray(cut)[:, :, None]


def _nearest(places: npt.NDArray[np.int64], length: int, size: int) -> npt.NDArray[np.int64]:
    """Return the source pixels [0, length) under the centres of pixels of a side that is resized to `size`."""
    return np.clip((2 * places + 1) * length // (2 * size), 0, length - 1)
