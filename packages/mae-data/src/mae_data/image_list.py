"""Lists of images: text files of `relative/path label` lines, checked once when they are read."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, ImageError

SHOWN_FAULTS = 10
NO_LABEL = -1
# Labels end up in int64 tensors, but nobody has this many classes: a larger number is a damaged line.
MAX_LABEL = 2**31 - 1


class ImageList:
    """The images that a list file names.

    Paths stay bytes, as in the file: a list of a million lines is then small, and opening a file does
    not depend on the locale.

    Attributes:
        list_file: The list as the caller named it, for messages.
        root: Folder that the paths are relative to.
        labels: int64 [N]; -1 where a line has no label.
        lines: int64 [N], line number of each entry, from 1.
        duplicates: How many entries repeat the path of an earlier one.
        num_classes: Largest label + 1; 0 without labels.
    """

    def __init__(
        self,
        list_file: str,
        root: str,
        entries: tuple[list[bytes], list[int], list[int]],
        allow_outside: bool,
    ) -> None:
        self.list_file = list_file
        self.root = root
        paths, labels, lines = entries
        self.labels = np.array(labels, dtype=np.int64)
        self.lines = np.array(lines, dtype=np.int64)
        self.duplicates = len(paths) - len(set(paths))
        self.num_classes = int(self.labels.max(initial=NO_LABEL)) + 1
        # One block, not a million objects: forked workers share it for good, as no reference count changes.
        self._text = b"\n".join(paths)
        self._ends = np.cumsum([len(path) + 1 for path in paths])
        self._allow_outside = allow_outside
        self._real_root = os.path.realpath(os.fsencode(root))
        self._checked_folders: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._ends)

    def path(self, index: int) -> str:
        """Return the path of entry `index` as written in the list."""
        return self._path(index).decode("utf-8")

    def _path(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"entry {index} of a list of {len(self)}")
        start = self._ends[index - 1] if index > 0 else 0
        return self._text[start : self._ends[index] - 1]

    def describe(self, index: int) -> str:
        """Return `train_list.txt:17 (path)` for messages about entry `index`."""
        return f"{self.list_file}:{self.lines[index]} ({self.path(index)})"

    def describe_batch(self, indices: Iterable[int]) -> str:
        """Name the first eight of a batch's entries for messages."""
        return ", ".join(self.describe(int(index)) for index in islice(indices, 8))

    def class_folders(self, labels: npt.NDArray[np.int64] | None = None) -> dict[int, str]:
        """Name each class by the folder that its first image lies in.

        Args:
            labels: int64 [N], instead of those of the list.
        """
        classes, first = np.unique(self.labels if labels is None else labels, return_index=True)
        return {
            int(c): os.path.basename(os.path.dirname(self.path(int(i)))) for c, i in zip(classes, first, strict=True)
        }

    def file(self, index: int) -> bytes:
        """Return the file name to open for entry `index`.

        Symbolic links are followed here, once per folder and for files that are links themselves: to
        resolve every path of a large list at start-up would take minutes.

        Raises:
            DataError: The path leads out of the root by a symbolic link and that was not allowed.
        """
        name = os.path.join(os.fsencode(self.root), self._path(index))
        if not self._allow_outside:
            folder = os.path.dirname(name)
            if folder not in self._checked_folders:
                self._refuse_outside(index, folder)
                self._checked_folders.add(folder)
            if os.path.islink(name):
                self._refuse_outside(index, name)
        return name

    def _refuse_outside(self, index: int, name: bytes) -> None:
        target = os.path.realpath(name)
        if os.path.commonpath([target, self._real_root]) != self._real_root:
            raise ImageError(
                self.describe(index),
                f"a symbolic link leads out of {self.root} to {os.fsdecode(target)}; "
                "move the files into it, or opt in with allow_outside",
            )


def read_list(
    list_file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    labels: str = "required",
    num_classes: int | None = None,
    allow_outside: bool = False,
) -> ImageList:
    """Read and check a list of images.

    A line is `relative/path label`, separated by whitespace; the label is split off from the right, so
    a path may contain spaces. UTF-8 with or without BOM, CRLF and blank lines are accepted.

    Args:
        list_file: The list; a relative name is looked for below `root` first, then from here.
        root: Folder that the paths are relative to; the folder of the list by default.
        labels: "required", or "optional" to accept lines that are a path alone (label -1).
        num_classes: When given, labels must be below it.
        allow_outside: Accept absolute paths, `..` and symbolic links that leave `root`.

    Raises:
        DataError: The list is missing, empty or not UTF-8, or has bad lines (counted, ten are shown).
    """
    if labels not in ("required", "optional"):
        raise ValueError(f"labels={labels!r}; use 'required' or 'optional'")
    found = _find(Path(list_file), root)
    name = str(found)
    text = _read_text(found, root)
    max_label = MAX_LABEL if num_classes is None else num_classes - 1
    entries, faults = _parse(text, labels == "required", max_label, allow_outside)
    if faults:
        raise DataError(_headline(name, faults))
    if not entries[0]:
        raise DataError(f"{name}: the list is empty; write one `path label` line per image")
    return ImageList(name, os.fspath(root) if root is not None else str(found.parent), entries, allow_outside)


def _find(list_file: Path, root: str | os.PathLike[str] | None) -> Path:
    """Prefer the list below `root`: one of the same name in the current folder is of another data set."""
    if root is not None and (below := Path(root) / list_file).exists():
        return below
    return list_file


def _read_text(list_file: Path, root: str | os.PathLike[str] | None) -> bytes:
    try:
        text = list_file.read_bytes()
    except OSError as error:
        below = f" nor below {os.fspath(root)}" if root is not None and not list_file.exists() else ""
        raise DataError(
            f"{list_file}: cannot read the list ({error.strerror}{below}); `mae-data index FOLDER` writes one"
        ) from error
    text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DataError(f"{list_file}:{line}: not UTF-8; save the list as UTF-8") from error
    return text


def _parse(
    text: bytes, labels_required: bool, max_label: int, allow_outside: bool
) -> tuple[tuple[list[bytes], list[int], list[int]], list[tuple[int, str]]]:
    """Return (paths, labels, line numbers) of the good lines and (line number, reason) of the bad ones."""
    paths: list[bytes] = []
    labels: list[int] = []
    lines: list[int] = []
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(text.split(b"\n"), 1):
        line = line.strip()
        if not line:
            continue
        try:
            path, label = _split(line, labels_required, max_label)
            if not allow_outside:
                _refuse_leaving(path)
        except ValueError as error:
            faults.append((number, str(error)))
            continue
        paths.append(path)
        labels.append(label)
        lines.append(number)
    return (paths, labels, lines), faults


def _split(line: bytes, label_required: bool, max_label: int) -> tuple[bytes, int]:
    """Split one line into path and label; ValueError says what is wrong with it."""
    *path, last = line.rsplit(None, 1)
    if path and last.isdigit():
        label = int(last)
        if label > max_label:
            raise ValueError(f"label {label} is too large; the largest allowed is {max_label}")
        return path[0], label
    if path and last[:1] == b"-" and last[1:].isdigit():
        raise ValueError(f"label {last.decode()} is negative; labels count from 0")
    if not label_required:
        return line, NO_LABEL
    if not path:
        raise ValueError(f"no label in {line.decode()!r}; write `path label`")
    raise ValueError(f"label {last.decode()!r} is not an integer; write `path label`")


def _refuse_leaving(path: bytes) -> None:
    """Raise ValueError for an absolute path and for one with a `..` part."""
    if path[:1] == b"/" or (os.name == "nt" and os.path.isabs(path)):
        raise ValueError(
            f"absolute path {path.decode()!r}; write it relative to the root, or opt in with allow_outside"
        )
    if b".." in path and b".." in path.replace(b"\\", b"/").split(b"/"):
        raise ValueError(f"path {path.decode()!r} leaves the root by `..`; move the file, or opt in with allow_outside")


def _headline(list_file: str, faults: list[tuple[int, str]]) -> str:
    """Describe bad lines: one of them on one line, several as a headline and the first ten."""
    if len(faults) == 1:
        return f"{list_file}:{faults[0][0]}: {faults[0][1]}"
    shown = [f"  {list_file}:{line}: {reason}" for line, reason in faults[:SHOWN_FAULTS]]
    note = f", the first {SHOWN_FAULTS} are" if len(faults) > SHOWN_FAULTS else ""
    return f"{list_file}: {len(faults)} bad lines{note}:\n" + "\n".join(shown)
