"""List files whose lines have more than a class beside a path: a mask, several labels, numbers."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from mae_data.errors import DataError
from mae_data.sources.file_source import FileSource
from mae_data.sources.index_file import Index, IndexWriter, parse_index
from mae_data.sources.list_file import leaves_root, read_blocks
from mae_data.sources.source import NO_LABEL

SHOWN_FAULTS = 10
Annotation = TypeVar("Annotation")


@dataclass(frozen=True)
class _Metadata:
    """Nothing is kept of these files beside their names."""


class ListedFiles(FileSource):
    """Files that a list or a folder names, without classes.

    Args:
        name: what messages call them.
        root: folder that the names are relative to.
        names: N paths.
        lines: N numbers of lines, from 1, or of places.
    """

    def __init__(self, name: str, root: str, names: Sequence[bytes], lines: Sequence[int]) -> None:
        super().__init__(name, root, _index_of(names), hashlib.sha256(b"\n".join(names)).hexdigest())
        self.lines = lines

    def hash_beside(self, beside: bytes) -> None:
        """Let the fingerprint change with what stands beside the names, too."""
        self._sha256 = hashlib.sha256(self._sha256.encode() + beside).hexdigest()

    def number(self, index: int) -> int:
        """Return the line of an entry."""
        return self.lines[index]


def read_annotated(
    path: Path,
    root: str,
    split: Callable[[bytes], tuple[bytes, Annotation]],
    allow_outside: bool = False,
    opt_in: str = "allow_outside=True",
) -> tuple[ListedFiles, list[Annotation]]:
    """Read a list of a path and something else a line.

    Args:
        path: the list.
        root: folder that paths are relative to.
        split: parts a line, which is not blank; a ValueError says what is wrong with it.
        allow_outside: accept absolute paths and `..`.
        opt_in: how the reader of a message sets `allow_outside`.

    Returns:
        the files, and what stands beside each.

    Raises:
        DataError: the list cannot be read, is empty, or has bad lines (ten are shown).
    """
    names, annotations, lines, faults = list[bytes](), list[Annotation](), list[int](), list[str]()
    try:
        with open(path, "rb") as file:
            for number, line in chain.from_iterable(read_blocks(file, str(path))):
                try:
                    name, annotation = split(line)
                    if fault := outside_fault(name, allow_outside, opt_in):
                        raise ValueError(fault)
                except ValueError as error:
                    faults.append(f"{path}:{number}: {error}")
                    continue
                names.append(name)
                annotations.append(annotation)
                lines.append(number)
    except OSError as error:
        raise DataError(f"{path}: cannot read the list ({error.strerror})") from error
    if faults:
        more = f"\n  and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise DataError("\n  ".join(faults[:SHOWN_FAULTS]) + more)
    if not names:
        raise DataError(f"{path}: the list is empty; write one line per image")
    return ListedFiles(str(path), root, names, lines), annotations


def outside_fault(path: bytes, allow_outside: bool, opt_in: str) -> str:
    """Return what is wrong with a path that leaves the folder it starts from; empty where it is allowed or does not."""
    if allow_outside or not (how := leaves_root(path)):
        return ""
    return f"path {path.decode()!r} {how}; write it relative to the root, or opt in with {opt_in}"


def _index_of(names: Sequence[bytes]) -> Index:
    buffer = io.BytesIO()
    writer = IndexWriter(buffer)
    writer.add_names(b"".join(name + b"\n" for name in names))
    ends = np.cumsum([len(name) + 1 for name in names], dtype=np.int64)
    writer.finish({"ends": ends, "labels": np.full(len(names), NO_LABEL, np.int64)}, _Metadata())
    return parse_index(np.frombuffer(buffer.getbuffer(), np.uint8), "names")
