"""One image of a file that holds many, named as NumPy names a part of an array: `brain.nii[:,:,40]`, `echo.dcm[7]`.

`[:,:,40]` is slice 40 of a volume's third axis, `[:,:,40,2]` that of the third of several volumes; `[7]` is frame 7 of
a DICOM file, image 7 of an array [N, H, W(, C)] or of an IDX file. All count from 0.

The values of DICOM and NIfTI are in a unit, and a value range of floats is a window on them.
"""

import gzip
import io
import os
import re
import stat
import threading
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.value_range import EIGHT_BITS, ValueRange
from mae_data.images.volumes import nifti
from mae_data.images.volumes.arrays import MAGIC, is_idx, read_row
from mae_data.images.volumes.dicom import is_dicom, read_dicom

_NAME = re.compile(rb"(.+)\[((?::|\d{1,9})(?:,(?::|\d{1,9})){0,3})\]", re.DOTALL)
_READING = threading.Lock()
# The gzipped file that was read last, where its reading stopped: slices in order unpack it once.
_last: tuple[Any, Any, Any] = (None, None, None)
_HEAD = 348  # bytes by which DICOM and NIfTI are known


def split_name(name: bytes) -> tuple[bytes, nifti.Slice] | None:
    """Return file and slice that a name means; None where it is that of a file."""
    match = _NAME.fullmatch(name) if name.endswith(b"]") else None
    if match is None or os.path.lexists(name):
        return None
    return match[1], tuple(None if part == b":" else int(part) for part in match[2].split(b","))


def read_slice(path: bytes, place: nifti.Slice, max_pixels: int) -> bytes:
    """Return one image of a file, as an image file of its own.

    Raises:
        DataError: the file has no such slice, or is damaged.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DataError("not a file with data, but a folder, pipe or device")
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        if nifti.is_nifti(head):
            header = nifti.read_header(file, os.fstat(file.fileno()).st_size, False)
            return nifti.read_slice(file, header, place, False, max_pixels)
        if head[:2] == nifti.GZIP and not _is_idx_inside(file):
            return _read_packed(path, place, max_pixels)
        if len(place) != 1 or place[0] is None:
            raise DataError("slices along axes are for NIfTI volumes; write [NUMBER] for frames and arrays")
        if is_dicom(head):
            return _encode_frame(read_dicom(file, max_pixels, place[0]))
        if head[:2] == nifti.GZIP or head.startswith(MAGIC) or is_idx(head):
            return _encode(read_row(path, place[0], max_pixels))
    raise DataError("none of the files that have slices: NIfTI, DICOM, .npy, IDX")


def slice_ending(data: bytes) -> str:
    """Return the ending of the file that a slice became; that of others is empty."""
    endings = {b"P5": ".pgm", b"P6": ".ppm", MAGIC[:2]: ".npy", b"\x1c\x02": ".nii"}
    return endings.get(data[:2], "")


def _is_idx_inside(file: BinaryIO) -> bool:
    with gzip.GzipFile(fileobj=file) as stream:
        head = stream.read(4)
    file.seek(0)
    return is_idx(head)


def _read_packed(path: bytes, place: nifti.Slice, max_pixels: int) -> bytes:
    global _last
    found = os.stat(path)
    state = (os.getpid(), path, found.st_ino, found.st_size, found.st_mtime_ns)
    with _READING:
        known, stream, header = _last
        _last = (None, None, None)  # of a damaged file nothing is kept
        if known != state:
            stream = cast(BinaryIO, gzip.open(path))  # noqa: SIM115 - it stays open
            header = nifti.read_header(stream, found.st_size, True)
        data = nifti.read_slice(stream, header, place, True, max_pixels)
        _last = (state, stream, header)
        return data


def _encode(pixels: npt.NDArray[Any]) -> bytes:
    """Return pixels [H, W, C] as an image file: 8-bit grey and RGB as PGM and PPM, others as .npy."""
    grey, file = pixels[:, :, 0], io.BytesIO()
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        Image.fromarray(np.ascontiguousarray(grey if pixels.shape[2] == 1 else pixels)).save(file, "PPM")
    else:
        np.save(file, pixels)
    return file.getvalue()


def _encode_frame(pixels: npt.NDArray[Any]) -> bytes:
    """Return a frame [H, W, C] as a file whose values have a unit, too."""
    if pixels.shape[2] > 1 and pixels.dtype != np.uint8:
        return _encode(pixels)
    values = np.ascontiguousarray(pixels)
    return nifti.write_slice(values[:, :, 0] if pixels.shape[2] == 1 else values.view(f"V{pixels.shape[2]}")[:, :, 0])


def is_medical(file: BinaryIO) -> bool:
    """Return whether a file is DICOM or NIfTI; it is left at its beginning."""
    head = file.read(_HEAD)
    file.seek(0)
    if head[:2] == nifti.GZIP:
        try:
            head = nifti.unpacked(file).read(_HEAD)
        except (OSError, EOFError):  # whoever reads it says what is wrong
            head = b""
        file.seek(0)
    return is_dicom(head) or nifti.is_nifti(head)


def read_medical(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any]:
    """Read a file of one image as pixels [H, W, C], in the unit that it states."""
    head = file.read(_HEAD)
    file.seek(0)
    return read_dicom(file, max_pixels) if is_dicom(head) else nifti.read_nifti(file, max_pixels)


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
