"""DICOM files: their pixels in the unit that the file says, one frame at a time, and their tags without pixels."""

import importlib.util
import io
import logging
import mmap
import os
import re
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.bounds import check_growth, check_jpeg, check_size, growth_limit
from mae_data.images.volumes.nifti import rescaled

NEEDS_PYDICOM = 'DICOM needs pydicom: pip install "mae-data[medical]"'
MAX_FRAMES = 100_000
_DEFLATED = "1.2.840.10008.1.2.1.99"
_JPEG = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.6", "1.2.840.10008.1.2.4.7")  # begins of its transfer syntaxes
_JPEG_ITEM = re.compile(rb"\xfe\xff\x00\xe0(....)(?=\xff\xd8\xff)", re.DOTALL)

_checked: tuple[int, ...] = ()  # state of the file that was checked last
# What is wrong with a file is said once, by us.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False  # to the log of a run, where no file is named
warnings.filterwarnings("ignore", module=r"pydicom\.")


@dataclass(frozen=True)
class Tags:
    """What names the place of an image among others; empty where a file does not say.

    Attributes:
        patient, series: identifiers.
        number: of the image in its series.
        frames: images that the file holds.
    """

    patient: str
    series: str
    number: int
    frames: int


def is_dicom(head: bytes) -> bool:
    """Return whether, by its first 132 bytes, a file is DICOM."""
    return head[128:132] == b"DICM"


def can_read_dicom() -> bool:
    """Return whether pydicom is installed."""
    return importlib.util.find_spec("pydicom") is not None


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise DataError(NEEDS_PYDICOM) from None
    return pydicom


def read_tags(file: BinaryIO) -> Tags:
    """Read what distinguishes patients and series; pixels are not read.

    Args:
        file: open at its beginning.
    """
    names = ("PatientID", "SeriesInstanceUID", "InstanceNumber", "NumberOfFrames")
    pydicom = _pydicom()
    _check_deflated(file, pydicom)
    tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(names))
    patient, series, number, frames = (tags.get(name) for name in names)
    return Tags(str(patient or "").strip(), str(series or ""), _number(number, 0), _number(frames, 1))


def _number(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):  # it may be text of any kind
        return otherwise


def read_dicom(file: BinaryIO, max_pixels: int, frame: int | None = None) -> npt.NDArray[Any]:
    """Read a frame as pixels [H, W, C].

    Modality LUT, or rescale slope and intercept, are applied (float32 where they change anything); MONOCHROME1 is
    turned, so that small values are dark; palettes become RGB, and YBR does.

    Args:
        file: open at its beginning; of many frames, only what is needed is read.
        max_pixels: of a frame.
        frame: which, from 0; None where the file holds one only.

    Raises:
        DataError: there is no such frame, the file is damaged, or its compression needs another package.
    """
    pydicom = _pydicom()
    _check_deflated(file, pydicom)
    tags = pydicom.dcmread(file, stop_before_pixels=frame is not None)
    count = max(1, _number(tags.get("NumberOfFrames"), 1))
    if frame is None and count > 1:
        raise DataError(f"it holds {count} frames: name one, such as NAME[0] (`mae-data index` writes a list of all)")
    if frame is not None and frame >= count:
        raise DataError(f"there is no frame {frame} of {count}; frames count from 0")
    _check_promises(file, tags, max_pixels)
    stored = _decode(pydicom, file, tags, frame)
    return np.atleast_3d(_as_shown(pydicom, stored, tags, frame or 0))


def _check_deflated(file: BinaryIO, pydicom: Any) -> None:
    """Refuse a deflated file that inflates to too much; the file is left at its beginning."""
    head = file.read(1024)
    if _DEFLATED.encode() in head:
        file.seek(0)
        pydicom.filereader.read_preamble(file, False)
        pydicom.filereader._read_file_meta_info(file)
        data = file.read()
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, growth_limit(len(data)) + 1)
        check_growth(len(inflated), len(data))
    file.seek(0)


def _check_promises(file: BinaryIO, tags: Any, max_pixels: int) -> None:
    height, width, samples, bits = (
        _number(tags.get(name), otherwise)
        for name, otherwise in (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("BitsAllocated", 8))
    )
    if min(height, width, samples) < 1:
        raise DataError("it holds no image (no Rows and Columns)")
    check_size(width, height, max_pixels)
    size = file.seek(0, io.SEEK_END)
    check_growth(height * width * samples * max(bits, 8) // 8, size)
    file.seek(0)
    if str(_syntax(tags)).startswith(_JPEG):
        _check_jpegs(file, max_pixels)


def _syntax(tags: Any) -> Any:
    return tags.file_meta.get("TransferSyntaxUID", "")


def _check_jpegs(file: BinaryIO, max_pixels: int) -> None:
    """Check the JPEG files within, of a file on the disk once; it is mapped, not held."""
    global _checked
    try:
        found = os.fstat(file.fileno())
    except OSError:  # in memory
        _check_items(file.read(), max_pixels)
        file.seek(0)
        return
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, max_pixels)
    if state != _checked:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_items(data, max_pixels)
        _checked = state


def _check_items(data: bytes | mmap.mmap, max_pixels: int) -> None:
    for item in _JPEG_ITEM.finditer(data):
        place = item.end()
        check_jpeg(data[place : place + int.from_bytes(item[1], "little")], max_pixels)


def _decode(pydicom: Any, file: BinaryIO, tags: Any, frame: int | None) -> npt.NDArray[Any]:
    """Return a frame [H, W] or [H, W, C] as stored."""
    file.seek(0)
    try:
        return tags.pixel_array if frame is None else pydicom.pixels.pixel_array(file, index=frame)
    except RuntimeError as error:  # of many lines, the first of which says little
        if "missing dependencies" not in str(error) and "does not support" not in str(error):
            raise DataError(f"cannot decode the image ({str(error).splitlines()[-1].strip()})") from error
        name = getattr(_syntax(tags), "name", "this compression")
        raise DataError(f"DICOM with {name} needs another decoder of pydicom's: pip install python-gdcm") from None


def _as_shown(pydicom: Any, stored: npt.NDArray[Any], tags: Any, frame: int) -> npt.NDArray[Any]:
    kind = str(tags.get("PhotometricInterpretation", ""))
    if kind == "PALETTE COLOR":
        colours = pydicom.pixels.apply_color_lut(stored, tags)
        return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize > 1 else colours
    if kind == "MONOCHROME1":
        stored = _turned(stored, tags)
    if tags.get("ModalityLUTSequence"):
        return rescaled(pydicom.pixels.apply_modality_lut(stored, tags), 1.0, 0.0)
    slope, inter = _scale(tags, frame)
    return rescaled(stored, slope, inter)


def _turned(stored: npt.NDArray[Any], tags: Any) -> npt.NDArray[Any]:
    """Exchange the ends of what the stored bits can be."""
    if stored.dtype.kind not in "ui":
        return -stored
    return ~stored if stored.dtype.kind == "i" else ((1 << _number(tags.get("BitsStored"), 16)) - 1) - stored


def _scale(tags: Any, frame: int) -> tuple[float, float]:
    """Return slope and intercept of a frame, which may have its own."""
    groups = [tags]
    for name, number in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        of_frames = tags.get(name) or []
        if number < len(of_frames):
            groups += list(of_frames[number].get("PixelValueTransformationSequence") or [])
    for group in reversed(groups):
        if group.get("RescaleSlope") is not None and group.get("RescaleIntercept") is not None:
            return float(group.RescaleSlope), float(group.RescaleIntercept)
    return 1.0, 0.0
