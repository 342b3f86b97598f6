"""TIFF files of any number of channels and depth (multi-band ones need the extra `tiff`)."""

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.formats import check_size

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: more than 4 GB
_BITS_PER_SAMPLE = 258
_ONE_CHANNEL = ("L", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes that lose nothing


def is_8_bit(file: BinaryIO) -> bool:
    """Tell whether Pillow reads all that a TIFF holds: it drops the lower bytes of 16-bit colours."""
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            bits = image.tag_v2.get(_BITS_PER_SAMPLE, 1)
            return max(bits if isinstance(bits, tuple) else (bits,)) <= 8 and image.mode not in ("I", "F")
    except Exception:  # on what it does not know or on damaged files, Pillow raises nearly anything
        return False
    finally:
        file.seek(0)


def read_tiff(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    """Read the bands of the first image as pixels [H, W, C], as stored; pages of one size are bands.

    Args:
        file: open at its beginning.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: tifffile is needed and missing, or the file holds no image of bands.
    """
    one_channel = _read_one_channel(file, max_pixels)
    if one_channel is not None:
        return one_channel[:, :, None]
    try:
        import tifffile
    except ImportError:
        raise DataError('a TIFF of several bands needs tifffile: pip install "mae-data[tiff]"') from None
    with tifffile.TiffFile(file, name="image.tif") as tiff:  # it cannot read names that are bytes
        series = tiff.series[0]
        axes, shape = _image_axes(series.axes, series.shape)
        sides = dict(zip(axes, shape, strict=True))
        check_size(sides["X"], sides["Y"], max_pixels)
        pixels = np.asarray(series.asarray()).reshape(shape)
    return np.atleast_3d(pixels.transpose([axes.index("Y"), axes.index("X"), *_others(axes)]))


def _read_one_channel(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any] | None:
    """Read one page of one channel with Pillow alone, which knows more compressions; None for all else."""
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            is_one = image.mode in _ONE_CHANNEL and getattr(image, "n_frames", 1) == 1
            if not is_one or image.width * image.height > max_pixels:
                return None
            pixels = np.asarray(image)
            return pixels.astype(pixels.dtype.newbyteorder("="))
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


def _others(axes: str) -> list[int]:
    return [i for i, axis in enumerate(axes) if axis not in "YX"]
