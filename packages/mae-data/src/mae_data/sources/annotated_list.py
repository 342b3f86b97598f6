"""List files whose lines have more than a class beside a path: a mask, several labels, numbers."""

import hashlib
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from mae_data.errors import DataError
from mae_data.sources.file_source import FileSource
from mae_data.sources.index_file import Index, IndexWriter, parse_index
from mae_data.sources.list_file import CLASSES, outside_fault, read_blocks
from mae_data.sources.source import NO_LABEL, Targets

SHOWN_FAULTS = 10
Annotation = TypeVar("Annotation")
NOTHING = "-"  # no label at all


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


def _index_of(names: Sequence[bytes]) -> Index:
    buffer = io.BytesIO()
    writer = IndexWriter(buffer)
    writer.add_names(b"".join(name + b"\n" for name in names))
    ends = np.cumsum([len(name) + 1 for name in names], dtype=np.int64)
    writer.finish({"ends": ends, "labels": np.full(len(names), NO_LABEL, np.int64)}, _Metadata())
    return parse_index(np.frombuffer(buffer.getbuffer(), np.uint8), "names")


def open_targets(
    root: str | os.PathLike[str],
    list_file: str | os.PathLike[str],
    count: int,
    *,
    labels: bool,
    names: Sequence[str] = (),
    names_file: str = CLASSES,
    allow_outside: bool = False,
    opt_in: str = "allow_outside=True",
) -> Targets:
    """Open a list of several labels or numbers.

    | a line                  | with labels                          | with numbers                |
    |-------------------------|--------------------------------------|-----------------------------|
    | `photo.jpg 0,2`         | of classes 0 and 2                   | 0 and 2                     |
    | `photo.jpg cat,dog`     | of the classes of these names        | -                           |
    | `photo.jpg 1 0 1`       | of classes 0 and 2, of three         | 1, 0 and 1                  |
    | `photo.jpg 1.5`         | -                                    | 1.5                         |
    | `photo.jpg -`           | of none                              | -                           |

    Paths may contain spaces; where a line has a tab, the path ends there.

    Args:
        root: folder that holds the list and that its paths are relative to.
        list_file: the list.
        count: T, classes or numbers.
        labels: read labels, not numbers.
        names: of the classes, T.
        names_file: what messages say holds them.
        allow_outside: accept absolute paths and `..`.
        opt_in: how the reader of a message sets `allow_outside`.

    Raises:
        DataError: the list cannot be read, or has bad lines (ten are shown).
    """
    places = {name: place for place, name in enumerate(names)}

    def split(line: bytes) -> tuple[bytes, list[float]]:
        path, words, row = _part(line, count)
        if labels and not row:
            return path, _parse_labels(words, count, places)
        return path, _parse_numbers(words, count, (0.0, 1.0) if labels else ())

    images, rows = read_annotated(Path(root) / list_file, os.fspath(root), split, allow_outside, opt_in)
    values = np.array(rows, np.float32)
    images.hash_beside(values.tobytes())
    flags = ("--labels" if labels else "--numbers", names_file if names else str(count))
    return Targets(images, values, flags=flags)


def _part(line: bytes, count: int) -> tuple[bytes, list[str], bool]:
    """Split a line into path and words, and return whether these are a row of `count`, with spaces between."""
    path, tab, rest = line.partition(b"\t")
    words = rest.split() if tab else line.rsplit(None, count)[1:]
    if len(words) == count > 1 and all(_is_number(word.decode()) for word in words):
        return path if tab else line.rsplit(None, count)[0], [word.decode() for word in words], True
    if not tab:
        path, *last = line.rsplit(None, 1)
        rest = last[0] if last else b""
    if not rest:
        raise ValueError(f"nothing beside the path {line.decode()!r}; write `path 0,2`, or `path {NOTHING}` for none")
    return path, [word.strip() for word in rest.decode().split(",") if word.strip()], False


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _parse_labels(words: list[str], count: int, places: dict[str, int]) -> list[float]:
    row = [0.0] * count
    for word in words if words != [NOTHING] else []:
        place = places.get(word, int(word) if word.isdecimal() and len(word) < 10 else -1)
        if not 0 <= place < count:
            tab = "; a tab parts a path from names with spaces" if any(" " in name for name in places) else ""
            raise ValueError(f"label {word!r} is neither 0 to {count - 1} nor the name of one{tab}")
        row[place] = 1.0
    return row


def _parse_numbers(words: list[str], count: int, allowed: Sequence[float]) -> list[float]:
    if len(words) != count:
        raise ValueError(f"{len(words)} numbers, {count} are needed")
    if wrong := [word for word in words if not _is_number(word)]:
        raise ValueError(f"{wrong[0]!r} is not a finite number")
    row = [float(word) for word in words]
    if allowed and not set(row) <= set(allowed):
        raise ValueError(f"{' '.join(words)!r} is no row of 0 and 1; part the labels by commas")
    return row
