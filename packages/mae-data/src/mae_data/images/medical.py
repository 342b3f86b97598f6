"""DICOM and NIfTI among the images: their values are in a unit, and a value range of floats is a window on them."""

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.images.dicom import is_dicom, read_dicom
from mae_data.images.nifti import GZIP, is_nifti, read_nifti, unpacked
from mae_data.images.value_range import EIGHT_BITS, ValueRange

_HEAD = 348


def is_medical(file: BinaryIO) -> bool:
    """Return whether a file is DICOM or NIfTI; it is left at its beginning."""
    head = file.read(_HEAD)
    file.seek(0)
    if head[:2] == GZIP:
        try:
            head = unpacked(file).read(_HEAD)
        except (OSError, EOFError):  # whoever reads it says what is wrong
            head = b""
        file.seek(0)
    return is_dicom(head) or is_nifti(head)


def read_medical(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    """Read a file of one image as pixels [H, W, C], in the unit that it states."""
    head = file.read(_HEAD)
    file.seek(0)
    return read_dicom(file, max_pixels) if is_dicom(head) else read_nifti(file, max_pixels)


def fit_medical(pixels: npt.NDArray[Any], channels: int, limits: ValueRange) -> npt.NDArray[Any]:
    """Fit pixels [H, W, C] to what is stated, where that has one meaning only.

    | stated                        | what becomes of the values                                |
    |-------------------------------|-----------------------------------------------------------|
    | [low, high]                   | float32; what is below or above becomes the end (window)   |
    | 255, with 1 or 3 channels     | 8-bit grey and RGB as pictures: grey repeats over RGB, ... |
    | another white of integers     | as stored                                                  |
    """
    if limits.is_float:
        return pixels.astype(np.float32).clip(*limits.bounds)
    if pixels.dtype == np.uint8 and limits == EIGHT_BITS and {channels, pixels.shape[2]} == {1, 3}:
        picture = Image.fromarray(pixels if channels == 1 else np.ascontiguousarray(pixels[:, :, 0]))
        return np.atleast_3d(np.asarray(picture.convert("L" if channels == 1 else "RGB")))
    return pixels


def is_picture(pixels: npt.NDArray[Any]) -> bool:
    """Return whether it is 8-bit grey or RGB."""
    return pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3)
