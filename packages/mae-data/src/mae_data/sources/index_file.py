"""Index files: names and arrays of a source in one file, memory-mapped when read.

    text       all names, each ended by a newline
    arrays     `ends` of the names in the text, `labels` and others, each aligned
    header     JSON: where each array is, and metadata of the source, under the key "facts"
    trailer    length of the header, and MAGIC

Processes that open one share its pages. Nothing in it is executed, and its numbers are checked when it is opened.
"""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError

MAGIC = b"MAEIDX01"
ALIGNMENT = 64
TYPES = ("<i8", "<i4", "<u4")
Array = npt.NDArray[Any]
Metadata = TypeVar("Metadata")
_TRAILER = struct.Struct("<Q8s")


@dataclass(frozen=True)
class Index:
    """The content of an index file.

    Attributes:
        text: uint8, the names, each ended by a newline.
        arrays: by name, each [N]; `ends` (where each name ends in the text, its newline included) and `labels` always.
        header: metadata of the source as JSON has them; see `read_metadata`.
    """

    text: npt.NDArray[np.uint8]
    arrays: Mapping[str, Array]
    header: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.arrays["ends"])

    def name(self, index: int) -> bytes:
        """Return the name of entry `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"entry {index} of {len(self)}")
        ends = self.arrays["ends"]
        return self.text[ends[index - 1] if index else 0 : ends[index] - 1].tobytes()

    def read_metadata(self, kind: type[Metadata]) -> Metadata:
        """Return what the header holds as a dataclass, whose fields it must all have.

        Raises:
            ValueError: one is missing or of another type.
        """
        types = get_type_hints(kind)
        values = {field.name: self.header.get(field.name) for field in fields(kind)}  # type: ignore[arg-type]
        for name, value in values.items():
            if type(value) is not (get_origin(types[name]) or types[name]):
                raise ValueError(f"its {name} is {value!r:.40}")
        return kind(**values)


class IndexWriter:
    """Writes an index from begin to end.

    Args:
        file: an empty file, open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = 0

    def add_names(self, text: bytes) -> None:
        """Append names, each ended by a newline."""
        self._file.write(text)
        self._text += len(text)

    def finish(self, arrays: Mapping[str, Array], metadata: object) -> None:
        """Write arrays and metadata, a dataclass, below the names."""
        place, table = self._text, {}
        for name, array in arrays.items():
            gap = -place % ALIGNMENT
            self._file.write(bytes(gap))
            self._file.write(np.ascontiguousarray(array).data)
            table[name] = [array.dtype.str, len(array), place + gap]
            place += gap + array.nbytes
        contents = {"text": self._text, "arrays": table, "facts": vars(metadata)}
        header = json.dumps(contents | {"crc": _crc(contents)}).encode()
        self._file.write(header + _TRAILER.pack(len(header), MAGIC))


def open_index(path: Path, own: bool = False) -> Index:
    """Map an index file into memory.

    Args:
        path: the file.
        own: whether only this user may have written it.

    Raises:
        DataError: it cannot be read, is not an index of this version, or others could have written it.
    """
    try:
        with open(path, "rb") as file:
            if own and not _is_own(os.fstat(file.fileno())):
                raise DataError(f"{path}: the file is another user's, or others may write it")
            buffer = np.memmap(file, np.uint8, mode="r")
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise DataError(f"{path}: cannot read the index ({getattr(error, 'strerror', None) or error})") from error
    return parse_index(buffer.view(np.ndarray), str(path))


def _crc(contents: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(contents).encode())


def _is_own(state: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or (state.st_uid == os.geteuid() and not state.st_mode & 0o022)


def parse_index(buffer: npt.NDArray[np.uint8], name: str) -> Index:
    """Find the sections of an index.

    Args:
        buffer: the whole file.
        name: what messages call it.

    Raises:
        DataError: it is damaged, or not an index of this version.
    """
    try:
        length, magic = _TRAILER.unpack(buffer[-_TRAILER.size :].tobytes())
        end = len(buffer) - _TRAILER.size
        if magic != MAGIC or length > end:
            raise ValueError("another kind of file, or of another version")
        header = json.loads(buffer[end - length : end].tobytes())
        if header.pop("crc", None) not in (None, _crc(header)):  # earlier releases wrote none
            raise ValueError("the checksum of its header is wrong")
        arrays = {key: _section(buffer, *place) for key, place in header["arrays"].items()}
        index = Index(buffer[: header["text"]], arrays, header["facts"])
        _check(index)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise DataError(f"{name}: not an index, or a damaged one ({error}); make it anew") from error
    return index


def _section(buffer: npt.NDArray[np.uint8], dtype: str, count: int, place: int) -> Array:
    if dtype not in TYPES or type(count) is not int or type(place) is not int or count < 0 or place < 0:
        raise ValueError(f"an array of {count} {dtype} at {place}")
    section = buffer[place : place + count * np.dtype(dtype).itemsize].view(dtype)
    if len(section) != count:
        raise ValueError("it is cut short")
    return section


def _check(index: Index) -> None:
    ends = index.arrays["ends"]
    if any(len(array) != len(ends) for array in index.arrays.values()) or "labels" not in index.arrays:
        raise ValueError("its arrays differ in length")
    in_order = len(ends) == 0 or (ends[0] > 0 and ends[-1] == len(index.text) and bool((np.diff(ends) > 0).all()))
    if not in_order:
        raise ValueError("its names are out of order")
    if not isinstance(index.header, dict):
        raise ValueError("it has no metadata")
