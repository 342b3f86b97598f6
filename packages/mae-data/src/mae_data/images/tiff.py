"""TIFF files of any number of channels and depth (multi-band ones need the extra `tiff`).

Every band and page counts, in one way for every depth: what one of several bands means, alpha too, is for whoever
chooses among them. MINISWHITE, where 0 is white, is turned so that 0 is black, for all unsigned integers.
"""

import ctypes
import itertools
import logging
import math
import re
import warnings
from contextlib import suppress
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging

from mae_data.errors import DataError
from mae_data.images.bounds import check_bytes, check_size
from mae_data.images.tiff_directory import MAGICS as MAGICS

_SUBFILE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _EXTRA, _FORMAT = 254, 258, 262, 270, 277, 338, 339
_REDUCED_OR_MASK = 1 | 4  # pages that belong to another: smaller copies and masks
_ONE_CHANNEL = ("L", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes that lose nothing
_UNSIGNED = 1
_MOST_PAGES = 4096
NEEDS_TIFFFILE = 'a TIFF of several bands needs tifffile: pip install "mae-data[tiff]"'

for _name in ("tifffile", "PIL.TiffImagePlugin"):  # what is wrong with a file is said once, by us
    logging.getLogger(_name).addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


@cache
def silence_libtiff() -> None:
    """Keep libtiff, which Pillow decodes with, from writing to the console; errors reach Pillow all the same."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for handler in (library.TIFFSetWarningHandler, library.TIFFSetErrorHandler):
            handler(None)


def is_8_bit(file: BinaryIO) -> bool:
    """Return whether a TIFF is an 8-bit picture of which Pillow reads all: no further bands, pages or lower bytes."""
    silence_libtiff()
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            return _is_whole_picture(image) and not _has_further_pages(image)
    except Exception:  # on what it does not know or on damaged files, Pillow raises nearly anything
        return False
    finally:
        file.seek(0)


def _is_whole_picture(image: Any) -> bool:
    tags = image.tag_v2
    bits, formats = (_numbers(tags.get(tag, 1)) for tag in (_BITS, _FORMAT))
    return (
        max(bits) <= 8
        and set(formats) == {_UNSIGNED}
        and image.mode not in ("I", "F")
        and not tags.get(_EXTRA)
        and tags.get(_SAMPLES, 1) == len(image.getbands())
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _has_further_pages(image: Any) -> bool:
    # ImageJ writes several pages of a large file without a header for each.
    count = re.match(r"ImageJ=.*\nimages=(\d+)", str(image.tag_v2.get(_DESCRIPTION, "")))
    if count and int(count[1]) > 1:
        return True
    for number in itertools.count(1):
        try:
            image.seek(number)
        except EOFError:
            return False
        if number > _MOST_PAGES or not image.tag_v2.get(_SUBFILE, 0) & _REDUCED_OR_MASK:
            return True
    raise AssertionError


def read_tiff(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    """Read all bands as pixels [H, W, C], as stored; pages of one size are bands.

    Args:
        file: open at its beginning.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: tifffile or imagecodecs is needed and missing, or the file holds no image of bands, or several.
    """
    one_channel = _read_one_channel(file, max_pixels)
    if one_channel is not None:
        return one_channel[:, :, None]
    try:
        import tifffile
    except ImportError:
        raise DataError(NEEDS_TIFFFILE) from None
    with tifffile.TiffFile(file, name="image.tif") as tiff:  # it cannot read names that are bytes
        series = _only_series(tiff)
        axes, shape = _image_axes(series.axes, series.shape)
        sides = dict(zip(axes, shape, strict=True))
        check_size(sides["X"], sides["Y"], max_pixels)
        check_bytes(file, math.prod(shape) * series.dtype.itemsize)  # OME's words may promise more than its pages
        pixels = _turned(np.asarray(_decode(series)).reshape(shape), int(series.keyframe.photometric))
    return np.atleast_3d(
        pixels.transpose([axes.index("Y"), axes.index("X"), *(i for i, axis in enumerate(axes) if axis not in "YX")])
    )


def _only_series(tiff: Any) -> Any:
    """Return the image of a file; smaller copies of it and masks do not count."""
    first, *rest = tiff.series
    others = [series for series in rest if not int(series.keyframe.subfiletype) & _REDUCED_OR_MASK]
    if others:
        shapes = " and ".join(str(tuple(series.shape)) for series in (first, *others[:3]))
        raise DataError(f"the file holds {1 + len(others)} images, of shapes {shapes}; save each in a file of its own")
    return first


def _decode(series: Any) -> Any:
    try:
        return series.asarray()
    except ValueError as error:  # tifffile's words for what imagecodecs decodes
        if "imagecodecs" not in str(error):
            raise
        kind = getattr(series.keyframe.compression, "name", "this compression")
        raise DataError(f'TIFF with {kind} needs imagecodecs: pip install "mae-data[tiff]"') from None


def _turned(pixels: npt.NDArray[Any], photometric: int) -> npt.NDArray[Any]:
    """Make 0 black where it is white; numbers with a sign have no such end, and stay."""
    return np.iinfo(pixels.dtype).max - pixels if photometric == 0 and pixels.dtype.kind == "u" else pixels


def _read_one_channel(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any] | None:
    """Read one page of one channel with Pillow alone, which knows more compressions; None for all else."""
    silence_libtiff()
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            tags: Any = image.tag_v2
            if image.mode not in _ONE_CHANNEL or image.width * image.height > max_pixels or tags.get(_SAMPLES, 1) != 1:
                return None
            is_8_bit, photometric = image.mode == "L", tags.get(_PHOTOMETRIC)
            if is_8_bit and not _is_whole_picture(image):
                return None
            pixels = np.asarray(image)
            if _has_further_pages(image):
                return None
            # Pillow has turned 8 bits itself.
            return pixels if is_8_bit else _turned(pixels.astype(pixels.dtype.newbyteorder("=")), photometric)
    except Exception:  # tifffile says what is wrong
        return None
    finally:
        file.seek(0)


def _image_axes(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Drop axes of length one, and require rows, columns and at most one more."""
    kept = [(axis, side) for axis, side in zip(axes, shape, strict=True) if side != 1 or axis in "YX"]
    names = "".join(axis for axis, _ in kept)
    if not {"Y", "X"} <= set(names) or len(kept) > 3:
        raise DataError(f"axes {axes} of shape {shape} are not those of one image; save rows, columns and bands")
    return names, tuple(side for _, side in kept)
