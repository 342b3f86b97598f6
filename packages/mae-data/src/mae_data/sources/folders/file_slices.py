"""The images of files that hold many (slices of NIfTI, frames of DICOM), and which images belong together."""

import io
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from mae_data.errors import DataError, InputError
from mae_data.images.volumes import nifti
from mae_data.images.volumes.dicom import MAX_FRAMES, NEEDS_PYDICOM, Tags, is_dicom, read_tags
from mae_data.images.volumes.slices import split_name

PATIENT = "patient"
MAX_SLICES = 1_000_000  # of a file; a small hostile one can promise more
_NIFTI = (b".nii", b".nii.gz")
_HEAD = 132
_SHOWN = 10
# Scanners and archives write names without an ending, or of numbers alone.
_NO_ENDING = re.compile(rb"(?!DICOMDIR$)(?:[^.]+|.*\.\d+)")


@dataclass(frozen=True)
class Slicing:
    """Which slices are images.

    Attributes:
        axis: of NIfTI volumes, from 0.
        every: one in so many, of each volume and of each series.
    """

    axis: int = 2
    every: int = 1

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2) or self.every < 1:
            raise InputError(f"--axis {self.axis} --every {self.every}: axes are 0, 1 and 2, every is 1 or more")


def may_be_dicom(name: bytes) -> bool:
    """Return whether a file may be DICOM by its name; its content decides."""
    return _NO_ENDING.fullmatch(name) is not None


def looks_like_dicom(path: bytes) -> bool:
    """Return whether a file begins as DICOM does."""
    try:
        with open(path, "rb") as file:
            return is_dicom(file.read(_HEAD))
    except OSError:
        return False


def each_slice(root: bytes, paths: Sequence[bytes], slicing: Slicing) -> Iterator[bytes]:
    """Yield the images of files, those of one file in their order; a damaged file stays one image, which is bad.

    Args:
        root: folder that the paths are relative to.
        paths: files of any kind.
        slicing: which slices.

    Raises:
        DataError: there are DICOM files alone, and pydicom is not installed.
    """
    series: dict[str, list[tuple[int, bytes]]] = {}
    for path in paths:
        if path.lower().endswith(_NIFTI):
            yield from _of_volume(root, path, slicing)
        elif not is_dicom_name(path) or (tags := _tags(root, path)) is None:
            yield path
        elif tags.frames > 1:
            yield from (path + b"[%d]" % frame for frame in range(0, min(tags.frames, MAX_FRAMES), slicing.every))
        elif slicing.every == 1 or not tags.series:
            yield path
        else:
            series.setdefault(tags.series, []).append((tags.number, path))
    for images in series.values():
        yield from (path for _, path in sorted(images)[:: slicing.every])


def is_dicom_name(path: bytes) -> bool:
    """Return the names of DICOM files among those of a scan."""
    return path.lower().endswith(b".dcm") or may_be_dicom(path.rpartition(b"/")[2])


def may_be_sliced(name: bytes) -> bool:
    """Return whether an image of a list is a slice of a file, or of a series."""
    file = name.rpartition(b"[")[0] if name.endswith(b"]") else name
    return file.lower().endswith(_NIFTI) or is_dicom_name(file)


def _tags(root: bytes, path: bytes) -> Tags | None:
    try:
        with open(os.path.join(root, path), "rb") as file:
            return read_tags(file)
    except Exception as error:  # on damaged files pydicom raises nearly anything
        if str(error) == NEEDS_PYDICOM:
            raise
        return None


def _of_volume(root: bytes, path: bytes, slicing: Slicing) -> Iterator[bytes]:
    try:
        with open(os.path.join(root, path), "rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            stream = nifti.unpacked(file)
            shape = nifti.read_header(stream, size, stream is not file).shape
    except (DataError, OSError, EOFError):
        shape = ()
    if len(shape) < 3 or math.prod(shape[2:]) > MAX_SLICES:
        yield path
        return
    for time in range(shape[3] if len(shape) > 3 else 1):
        for place in range(0, shape[slicing.axis], slicing.every):
            parts = [b":"] * 3
            parts[slicing.axis] = b"%d" % place
            yield path + b"[" + b",".join(parts + [b"%d" % time] * (len(shape) > 3)) + b"]"


def shortened(names: Sequence[bytes]) -> str:
    """Return the first ten names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(os.fsdecode, names[:_SHOWN])) + more


@dataclass(frozen=True)
class Grouping:
    """What keeps images together.

    Attributes:
        of: returns the group of a path; None where there is none.
        fault, advice: what is said of paths without a group, before their names and behind.
    """

    of: Callable[[bytes], bytes | None]
    fault: str = ""
    advice: str = ""

    def groups(self, paths: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the group of each path.

        Raises:
            InputError: some have none.
        """
        found = {path: self.of(path) for path in paths}
        if strange := [path for path, group in found.items() if group is None]:
            counted = f"{len(strange)} of {len(found)} images"
            raise InputError(f"{self.fault} {counted}: {shortened(strange)}; {self.advice}")
        return {path: group for path, group in found.items() if group is not None}


def _patient_of(root: bytes, name: bytes) -> bytes | None:
    """Return the PatientID of the DICOM file that an image is in; None where there is none."""
    found = split_name(os.path.join(root, name))
    tags = _tags(root, found[0] if found else name)  # a path that is joined already stays
    return tags.patient.encode() if tags and tags.patient else None


def make_grouping(group_by: str | None, root: bytes = b"") -> Grouping | None:
    """Return what names the groups of paths below a folder.

    Raises:
        InputError: it is no regular expression.
    """
    if group_by is None:
        return None
    if group_by == "folder":
        return Grouping(lambda path: path.rpartition(b"/")[0])
    if group_by == PATIENT:
        return Grouping(
            partial(_patient_of, root),
            f"--group-by {PATIENT} reads PatientID of DICOM files, and there is none in",
            "move these away, or give a regular expression that finds the patient in each path, such as"
            ' --group-by "(patient[0-9]+)"',
        )
    try:
        pattern = re.compile(os.fsencode(group_by))
    except re.error as error:
        raise InputError(
            f"--group-by {group_by} is neither `folder`, `patient` nor a regular expression ({error})"
        ) from None

    def of(path: bytes) -> bytes | None:
        match = pattern.search(path)
        return None if match is None else (match[1] if pattern.groups else match[0]) or b""

    return Grouping(of, f"--group-by {group_by} matches nothing in", "it must match each path")
