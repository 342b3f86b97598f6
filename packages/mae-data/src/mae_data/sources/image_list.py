"""Lists of images: text files of `relative/path label` lines, checked once when they are read."""

import io
import os
import time
from array import array
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.sources.cache import SETTLED_NS, cached_index, file_state, hash_file
from mae_data.sources.file_source import FileSource
from mae_data.sources.index_file import Index, IndexWriter, parse_index
from mae_data.sources.list_file import Allowed, Entry, find_fault, leaves_root, read_blocks, split_line
from mae_data.sources.source import MAX_LABEL, NO_LABEL

SHOWN_FAULTS = 10
# Smaller lists are read in less time than an index is found and checked.
CACHED_FROM_BYTES = 8 << 20


@dataclass(frozen=True)
class ListMetadata:
    """What an index keeps about its list, so that each caller's limits can be checked without reading it again.

    Attributes:
        unlabelled: number of lines without a label.
        max_label: the largest label; -1 without labels.
        leaves: whether a path is absolute or has a `..` part.
        faulty: whether a line is wrong whatever the caller allows.
        sha256: hash of the list's content.
        duplicates: how many entries repeat the path of an earlier one.
    """

    unlabelled: int
    max_label: int
    leaves: bool
    faulty: bool
    sha256: str
    duplicates: int

    def fits(self, allowed: Allowed) -> bool:
        """Return whether the list has nothing that the caller does not allow."""
        return not (
            self.faulty
            or (allowed.labels_required and self.unlabelled)
            or self.max_label > allowed.max_label
            or (self.leaves and not allowed.outside)
        )


class ImageList(FileSource):
    """The images that a list file names.

    Attributes:
        name: the list as the caller named it.
        list_file: the same.
        root: folder that the paths are relative to.
        lines: uint32 [N], line number of each entry, from 1.
    """

    def __init__(self, list_file: str, root: str, index: Index) -> None:
        metadata = index.read_metadata(ListMetadata)
        super().__init__(list_file, root, index, metadata.sha256)
        self.list_file = list_file
        self.lines = index.arrays["lines"]
        self.duplicates = metadata.duplicates
        if self.duplicates:
            self.notes = (f"{list_file}: {self.duplicates} of {len(index)} entries repeat the path of an earlier one",)

    def number(self, index: int) -> int:
        """Return the line number of entry `index`."""
        return int(self.lines[index])

    def entry(self, index: int) -> Entry:
        """Return path and label of entry `index`, as `list_text` takes them."""
        label = int(self.labels[index])
        return self._index.name(index), None if label == NO_LABEL else label


def read_list(
    list_file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    labels: str = "required",
    num_classes: int | None = None,
    allow_outside: bool = False,
    opt_in: str = "allow_outside=True",
) -> ImageList:
    """Read and check a list of images.

    A line is `relative/path label`, separated by whitespace; the label is split off from the right, so
    a path may contain spaces. UTF-8 with or without BOM, CRLF and blank lines are accepted.
    What was read of a large list is kept (see `sources.cache`), and mapped into memory the next time.

    Args:
        list_file: the list; a relative name is looked for below `root`, where one is given, and nowhere else.
        root: folder that the paths are relative to; the folder of the list by default.
        labels: "required", or "optional" to accept lines that are a path alone (label -1).
        num_classes: when given, labels must be below it.
        allow_outside: accept absolute paths and `..`. Links below `root` are followed in any case.
        opt_in: how the reader of a message sets `allow_outside`.

    Raises:
        DataError: the list is missing, empty or not UTF-8, or has bad lines (counted, ten are shown).
    """
    if labels not in ("required", "optional"):
        raise ValueError(f"labels={labels!r}; use 'required' or 'optional'")
    path = Path(list_file) if root is None else Path(root) / list_file
    max_label = MAX_LABEL if num_classes is None else num_classes - 1
    allowed = Allowed(labels == "required", max_label, allow_outside, opt_in)
    try:
        index = _open_index(path)
        if not len(index) or not index.read_metadata(ListMetadata).fits(allowed):
            raise _describe_faults(path, allowed)
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the list ({error.strerror}); `mae-data index FOLDER` writes one"
        ) from error
    return ImageList(str(path), os.fspath(root) if root is not None else str(path.parent), index)


def _open_index(path: Path) -> Index:
    state = os.stat(path)
    if state.st_size < CACHED_FROM_BYTES:
        buffer = io.BytesIO()
        _index_list(path, IndexWriter(buffer))
        return parse_index(np.frombuffer(buffer.getbuffer(), np.uint8), str(path))
    # Times are coarse: a list that changed just now could change again without another time.
    settled = time.time_ns() - state.st_mtime_ns > SETTLED_NS

    @cache
    def sha256() -> str:
        return hash_file(path)

    def is_current(index: Index, same_state: bool) -> bool:
        metadata = index.read_metadata(ListMetadata)
        if len(index.arrays["lines"]) != len(index):
            raise KeyError("lines")
        return (same_state and settled) or metadata.sha256 == sha256()

    real = os.path.realpath(path)
    return cached_index(real, file_state(path), lambda file: _index_list(path, IndexWriter(file)), is_current)


def _index_list(path: Path, writer: IndexWriter) -> None:
    """Read a list into an index, whatever its labels and paths are: each caller decides what it allows."""
    sha256 = hash_file(path)  # before it is read: where the list changes meanwhile, its index is not used again
    labels, numbers, lengths, hashes = array("q"), array("I"), array("q"), array("q")
    leaves = faulty = False
    with open(path, "rb") as file:
        for block in read_blocks(file, str(path)):
            names = []
            for number, line in block:
                try:
                    name, label = split_line(line)
                except ValueError:
                    faulty = True
                    continue
                names.append(name)
                labels.append(label)
                numbers.append(number)
            text = b"".join([name + b"\n" for name in names])
            writer.add_names(text)
            lengths.extend(map(len, names))
            hashes.extend(map(hash, names))
            if b".." in text or text[:1] == b"/" or b"\n/" in text:  # few blocks need a check of each name
                leaves = leaves or any(map(leaves_root, names))
    unlabelled, max_label = labels.count(NO_LABEL), max(labels, default=NO_LABEL)
    metadata = ListMetadata(unlabelled, max_label, leaves, faulty, sha256, _count_repeated(np.array(hashes)))
    ends = np.cumsum(np.array(lengths) + 1)
    writer.finish({"ends": ends, "labels": np.array(labels), "lines": np.array(numbers, np.uint32)}, metadata)


def _count_repeated(hashes: npt.NDArray[np.int64]) -> int:
    """Count what occurs before; of 14 million different paths, two share their hash once in 200,000 lists."""
    hashes.sort()
    return int((hashes[1:] == hashes[:-1]).sum())


def _describe_faults(path: Path, allowed: Allowed) -> DataError:
    """Return the error about a list: one bad line on one line, several as a headline and the first ten."""
    shown, count = list[str](), 0
    with open(path, "rb") as file:
        for number, line in chain.from_iterable(read_blocks(file, str(path))):
            if fault := find_fault(line, allowed):
                count += 1
                shown += [f"{path}:{number}: {fault}"] * (count <= SHOWN_FAULTS)
    if not count:
        return DataError(f"{path}: the list is empty; write one `path label` line per image")
    if count == 1:
        return DataError(shown[0])
    note = f", the first {SHOWN_FAULTS} are" if count > SHOWN_FAULTS else ""
    return DataError(f"{path}: {count} bad lines{note}:\n  " + "\n  ".join(shown))
