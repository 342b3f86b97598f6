"""Parquet files and saved Hugging Face `datasets`: rows with an encoded image and, perhaps, a label."""

import hashlib
import itertools
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, ImageError
from mae_data.sources.cache import hash_states
from mae_data.sources.source import NO_LABEL, Fingerprint, Source
from mae_data.sources.table_files import TableFile, open_table_file

ENDINGS = (".parquet", ".arrow")
# What the Hub and its users call the parts.
PART_NAMES = {"train": ("train",), "val": ("validation", "valid", "val", "test")}
ALL_NAMES = tuple(name for names in PART_NAMES.values() for name in names)
MOST_ENTRIES = 10_000
READING = threading.Lock()
NOTED_FROM_BYTES = 16 << 20


class TableSource(Source):
    """The rows of Parquet or Arrow files.

    Args:
        name: what messages call the source.
        files: its files, in order.
    """

    def __init__(self, name: str, files: Sequence[TableFile]) -> None:
        self.name = name
        self._files = files
        parts = [(number, part) for number, file in enumerate(files) for part in range(len(file.rows))]
        self._parts = np.array(parts, np.int64).reshape(-1, 2)
        self._ends = np.cumsum([rows for file in files for rows in file.rows], dtype=np.int64)
        self._loaded: tuple[int, Any] = (-1, None)
        self.labels = np.concatenate([np.empty(0, np.int64), *map(_labels, files)])
        largest = max(file.bytes for file in files)
        if largest > NOTED_FROM_BYTES:
            self.notes = (
                f"{name}: reading one image reads a row group of up to {largest / 1e6:.0f} MB; "
                "`mae-data shard` makes shards of which only the image is read",
            )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_loaded": (-1, None)}

    def path(self, index: int) -> str:
        """Return `FILE/ROW` of entry `index`, the row counted from 0 within its file."""
        file, row = self._place(index)
        return f"{file.path.stem}/{row}"

    def describe(self, index: int) -> str:
        """Return `FILE: row ROW` for messages about entry `index`."""
        file, row = self._place(index)
        return f"{file.path}: row {row}"

    def read(self, index: int) -> bytes:
        """Return the encoded image of entry `index`; see `Source`."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        try:
            column = self._column(part)
        except (OSError, ValueError) as error:  # Arrow's errors are among these
            raise ImageError(self.describe(index), f"cannot read the table ({error})".splitlines()[0]) from error
        value = column[len(column) - int(self._ends[part]) + index].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not data:
            raise ImageError(
                self.describe(index), "the row holds no bytes of an image; paths in tables are not followed"
            )
        return bytes(data)

    def _column(self, part: int) -> Any:
        """Return the images of one part, kept until another is asked for; threads may ask at the same time."""
        with READING:
            if self._loaded[0] != part:
                file = self._files[self._parts[part, 0]]
                self._loaded = (part, file.part(int(self._parts[part, 1]), str(file.image)))
            return self._loaded[1]

    def fingerprint(self) -> Fingerprint:
        """Return the number of images and a hash of what describes the files, and of the labels."""
        digest = hashlib.sha256("".join(file.digest for file in self._files).encode())
        digest.update(self.labels.tobytes())
        return {"images": len(self), "sha256": digest.hexdigest()}

    def state(self) -> str:
        """Return a hash of the state of the files; see `Source`."""
        return hash_states(file.path for file in self._files)

    def class_folders(self, labels: npt.NDArray[np.int64] | None = None) -> dict[int, str]:
        """Name the classes as the files do; there are no folders."""
        names = self._files[0].classes
        found = np.unique(self.labels if labels is None else labels).tolist()
        return {label: names[label] if 0 <= label < len(names) else "" for label in found}

    def _place(self, index: int) -> tuple[TableFile, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        number = self._parts[int(np.searchsorted(self._ends, index, side="right")), 0]
        before = sum(sum(file.rows) for file in self._files[:number])
        return self._files[number], index - before


def open_table(
    root: str | os.PathLike[str],
    part: str | None,
    files: Sequence[Path],
) -> TableSource:
    """Open the rows of table files.

    Args:
        root: what messages call the source.
        part: "train" or "val"; None: all files are of it.
        files: the files of all parts, from `table_files`.

    Raises:
        DataError: no file is of this part, or one is damaged.
    """
    chosen = files if part is None else files_of_part(Path(root), part, files)
    if not chosen:
        raise DataError(
            f"{root} has no table of the part {part!r}; its name begins with {' or '.join(PART_NAMES[part or 'train'])}"
        )
    source = TableSource(os.fspath(root), [open_table_file(path) for path in chosen])
    if not len(source):
        raise DataError(f"{root}: the table has no rows")
    return source


def table_files(root: Path) -> list[Path]:
    """Find the tables of a file, or of a folder and of data/, train/ and the like in it; none where there are none."""
    if root.is_file():
        return [root] if root.suffix in ENDINGS else []
    folders = [root, *(root / name for name in ("data", *ALL_NAMES))]
    return sorted(path for folder in folders if folder.is_dir() for path in _tables_in(folder))


def _tables_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in itertools.islice(entries, MOST_ENTRIES + 1)]
    if len(names) > MOST_ENTRIES:  # a folder of images; to list it takes time
        return []
    return [folder / name for name in names if name.endswith(ENDINGS) and not name.startswith((".", "cache-"))]


def files_of_part(root: Path, part: str, files: Sequence[Path]) -> list[Path]:
    """Choose files by the part that their names, or their folders', begin with; unnamed ones are of training."""
    named = {path: [word for word in _words(root, path) if word in ALL_NAMES] for path in files}
    for name in PART_NAMES[part]:
        if found := [path for path in files if name in named[path]]:
            return found
    return list(files) if part == "train" and not any(named.values()) else []


def _words(root: Path, path: Path) -> list[str]:
    """Return the word that the file's name begins with, and that of its folder below the root."""
    folders = [] if root in (path, path.parent) else [path.parent.name]
    return [re.split(r"[^a-z]", name, maxsplit=1)[0] for name in (path.name, *folders)]


def _labels(file: TableFile) -> npt.NDArray[np.int64]:
    """Read the labels of a file; -1 where there are none, as `datasets` writes for unknown ones too."""
    if file.label is None:
        return np.full(sum(file.rows), NO_LABEL, np.int64)
    parts = [file.part(number, file.label).fill_null(NO_LABEL) for number in range(len(file.rows))]
    return np.concatenate([np.empty(0, np.int64), *map(np.asarray, parts)]).astype(np.int64)
