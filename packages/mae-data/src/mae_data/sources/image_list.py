"""Lists of images: text files of `relative/path label` lines, checked once when they are read."""

import hashlib
import io
import itertools
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.sources.cache import SETTLED_NS, cached_index, file_state, hash_file
from mae_data.sources.file_source import FileSource
from mae_data.sources.index_file import Index, IndexWriter, parse_index
from mae_data.sources.list_lines import find_faults, parse_lines, read_blocks
from mae_data.sources.source import MAX_LABEL, NO_LABEL

SHOWN_FAULTS = 10
# Smaller lists are read in less time than an index is looked up and checked.
CACHED_FROM_BYTES = 8 << 20
NOTHING = np.empty(0, np.uint32)
LEAST_FACTS = {"unlabelled": 0, "max_label": NO_LABEL, "leaves": False, "faulty": False}


class ImageList(FileSource):
    """The images that a list file names.

    Attributes:
        name: the list as the caller named it.
        list_file: the same.
        root: folder that the paths are relative to.
        lines: uint32 [N], line number of each entry, from 1.
    """

    def __init__(self, list_file: str, root: str, index: Index) -> None:
        super().__init__(list_file, root, index)
        self.list_file = list_file
        self.lines = index.arrays["lines"]
        self.duplicates = index.facts["duplicates"]
        if self.duplicates:
            self.notes = (f"{list_file}: {self.duplicates} of {len(index)} entries repeat the path of an earlier one",)

    def number(self, index: int) -> int:
        """Return the line number of entry `index`."""
        return int(self.lines[index])


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
    found = Path(list_file) if root is None else Path(root) / list_file
    name = str(found)
    limits: dict[str, Any] = {
        "labels_required": labels == "required",
        "max_label": MAX_LABEL if num_classes is None else num_classes - 1,
        "allow_outside": allow_outside,
    }
    try:
        index = _open_index(found, name)
        if not len(index) or not _fits(index.facts, **limits):
            _refuse(found, name, limits | {"opt_in": opt_in})
    except OSError as error:
        raise DataError(
            f"{name}: cannot read the list ({error.strerror}); `mae-data index FOLDER` writes one"
        ) from error
    return ImageList(name, os.fspath(root) if root is not None else str(found.parent), index)


def _open_index(path: Path, name: str) -> Index:
    state = os.stat(path)
    if state.st_size < CACHED_FROM_BYTES:
        buffer = io.BytesIO()
        _index_list(path, name, IndexWriter(buffer))
        return parse_index(np.frombuffer(buffer.getbuffer(), np.uint8), name)
    # Times are coarse: a list that changed just now could change again without another time.
    settled = time.time_ns() - state.st_mtime_ns > SETTLED_NS

    def is_current(index: Index, same_state: bool) -> bool:
        return (same_state and settled) or index.facts["sha256"] == digest()

    @cache
    def digest() -> str:
        return hash_file(path)

    name_of_all = os.path.realpath(path)
    return cached_index(
        name_of_all, file_state(path), lambda file: _index_list(path, name, IndexWriter(file)), is_current
    )


def _index_list(path: Path, name: str, writer: IndexWriter) -> None:
    """Read a list into an index, whatever its labels and paths are: what a caller allows is decided by the facts."""
    digest, hashes = hashlib.sha256(), []
    parts: tuple[list[Any], ...] = ([], [], [])
    facts: dict[str, Any] = dict(LEAST_FACTS)
    offset = 0
    with open(path, "rb") as file:
        for number, block, raw in read_blocks(file, name):
            digest.update(raw)
            lines = parse_lines(block, number)
            writer.add_names(lines.text)
            hashes.append(np.fromiter(map(hash, lines.text.split(b"\n")[:-1]), np.int64, len(lines.ends)))
            arrays = (lines.ends + offset, lines.labels, lines.numbers.astype(np.uint32))
            for part, array in zip(parts, arrays, strict=True):
                part.append(array)
            offset += len(lines.text)
            facts["unlabelled"] += int((lines.labels == NO_LABEL).sum())
            facts["max_label"] = max(facts["max_label"], int(lines.labels.max(initial=NO_LABEL)))
            facts["leaves"] |= lines.leaves
            facts["faulty"] |= lines.faulty
    facts |= {"sha256": digest.hexdigest(), "duplicates": _repeated(hashes)}
    names = ("ends", "labels", "lines")
    writer.finish({name: _joined(part) for name, part in zip(names, parts, strict=True)}, facts)


def _joined(part: list[Any]) -> Any:
    whole = np.concatenate([NOTHING, *part])
    part.clear()  # a large list is not held twice
    return whole


def _repeated(hashes: list[npt.NDArray[np.int64]]) -> int:
    """Count what occurs before; of 14 million different paths, two share their hash once in 200,000 lists."""
    ordered = _joined(hashes)
    ordered.sort()
    return int((ordered[1:] == ordered[:-1]).sum())


def _fits(facts: Mapping[str, Any], *, labels_required: bool, max_label: int, allow_outside: bool) -> bool:
    return not (
        facts["faulty"]
        or (labels_required and facts["unlabelled"])
        or facts["max_label"] > max_label
        or (facts["leaves"] and not allow_outside)
    )


def _refuse(path: Path, name: str, limits: dict[str, Any]) -> None:
    """Raise DataError with what is wrong: one bad line on one line, several as a headline and the first ten."""
    with open(path, "rb") as file:
        blocks = read_blocks(file, name)
        faults = itertools.chain.from_iterable(find_faults(block, number, **limits) for number, block, _ in blocks)
        shown = list(itertools.islice(faults, SHOWN_FAULTS))
        count = len(shown) + sum(1 for _ in faults)
    if not count:
        raise DataError(f"{name}: the list is empty; write one `path label` line per image")
    if count == 1:
        raise DataError(f"{name}:{shown[0][0]}: {shown[0][1]}")
    note = f", the first {SHOWN_FAULTS} are" if count > SHOWN_FAULTS else ""
    lines = "\n".join(f"  {name}:{line}: {reason}" for line, reason in shown)
    raise DataError(f"{name}: {count} bad lines{note}:\n{lines}")
