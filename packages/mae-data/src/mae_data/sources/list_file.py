"""List files, a line `path label` per image, and `classes.txt` beside them.

`classes.txt` has a line per class, the first of class 0: its name, and behind it, if wanted, the colour in which masks
are drawn: `water #4363d8`.
"""

import colorsys
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError
from mae_data.files import write_atomically
from mae_data.sources.source import MAX_LABEL, NO_LABEL

VAL_LIST = "val_list.txt"
BLOCK_LINES = 10_000
MAX_LINE_BYTES = 64 << 10
BOM = b"\xef\xbb\xbf"

Entry = tuple[bytes, int | None]  # path below the root, label
CLASSES = "classes.txt"
TRAIN_LIST = "train_list.txt"
_COLOUR = re.compile(r"\s+#([0-9a-fA-F]{6})\s*$")
_GOLDEN = 0.618034  # of a circle: neighbours in number are far apart in hue


@dataclass(frozen=True)
class Allowed:
    """What a caller accepts in a list.

    Attributes:
        labels_required: whether a line needs a label.
        max_label: the largest label.
        outside: whether paths may be absolute or contain `..`.
        opt_in: how the reader of a message allows such paths.
    """

    labels_required: bool
    max_label: int
    outside: bool
    opt_in: str


def read_blocks(file: BinaryIO, name: str) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines of a list that are not blank, some thousand at a time.

    Yields:
        Number, from 1, and content without outer white space of each line.

    Raises:
        DataError: the list is not UTF-8, or has a line that is too long for a path.
    """
    lines, number = iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), 1
    while block := list(islice(lines, BLOCK_LINES)):
        if len(max(block, key=len)) > MAX_LINE_BYTES:
            number += next(i for i, line in enumerate(block) if len(line) > MAX_LINE_BYTES)
            raise DataError(f"{name}:{number}: a line of more than {MAX_LINE_BYTES} bytes; this is no list of images")
        if number == 1:
            block[0] = block[0].removeprefix(BOM)
        text = b"".join(block)
        try:
            text.decode()
        except UnicodeDecodeError as error:
            number += text.count(b"\n", 0, error.start)
            raise DataError(f"{name}:{number}: not UTF-8; save the list as UTF-8") from error
        yield [(place, line) for place, line in enumerate(map(bytes.strip, block), number) if line]
        number += len(block)


def split_line(line: bytes, labels_required: bool = False, max_label: int = MAX_LABEL) -> tuple[bytes, int]:
    """Split a line into path and label; the label is NO_LABEL where the line has none.

    Raises:
        ValueError: the label is missing or wrong; the message gives the reason.
    """
    words = line.rsplit(None, 1)
    last = words[-1]
    if len(words) == 2 and last.isdigit():
        label = int(last) if len(last) < 12 else int(last.lstrip(b"0")[:12] or b"0")  # int() refuses 5000 digits
        if label > max_label:
            raise ValueError(f"label {last.decode():.24} is too large; the largest allowed is {max_label}")
        return words[0], label
    if len(words) == 2 and last[:1] == b"-" and last[1:].isdigit():
        raise ValueError(f"label {last.decode()} is negative; labels count from 0")
    if not labels_required:
        return line, NO_LABEL
    if len(words) == 1:
        raise ValueError(f"no label in {line.decode()!r}; write `path label`")
    raise ValueError(f"label {last.decode()!r} is not an integer; write `path label`")


def find_fault(line: bytes, allowed: Allowed) -> str | None:
    """Return what a caller does not allow about a line, or None."""
    try:
        path, _ = split_line(line, allowed.labels_required, allowed.max_label)
    except ValueError as error:
        return str(error)
    return outside_fault(path, allowed.outside, allowed.opt_in) or None


def outside_fault(path: bytes, allow_outside: bool, opt_in: str) -> str:
    """Return what is wrong with a path that leaves the folder it starts from; empty where it is allowed or does not."""
    if allow_outside or not (how := leaves_root(path)):
        return ""
    return f"path {path.decode()!r} {how}; write it relative to the root, or opt in with {opt_in}"


def leaves_root(path: bytes) -> str:
    """Return how a path leaves the folder that it starts from; an empty string when it does not."""
    if path[:1] == b"/":
        return "is absolute"
    if b".." in path and b".." in path.replace(b"\\", b"/").split(b"/"):
        return "leaves the root by `..`"
    return ""


def list_text(entries: Iterable[Entry]) -> bytes:
    """Format the lines of a list; an entry without a label is its path alone."""
    return b"".join(path + (b"\n" if label is None else b" %d\n" % label) for path, label in entries)


def write_lists(root: Path, contents: Mapping[str, bytes], force: bool) -> None:
    """Write the list files of a data set.

    Args:
        root: folder of the data set.
        contents: content by file name; of train list, val list and classes, those that are not named are
            removed, since an old one would not fit the new ones.
        force: replace files that exist.

    Raises:
        InputError: a file exists and `force` is not set, or the folder cannot be written.
    """
    refuse_existing(root, force)
    for name, content in contents.items():
        write_atomically(root / name, content)
    for name in {TRAIN_LIST, VAL_LIST, CLASSES} - contents.keys():
        (root / name).unlink(missing_ok=True)


def refuse_existing(root: Path, force: bool) -> None:
    """Raise InputError when `root` has list files already and `force` is not set."""
    existing = [name for name in (TRAIN_LIST, VAL_LIST, CLASSES) if (root / name).exists()]
    if existing and not force:
        raise InputError(f"{root} already has {', '.join(existing)}; use --force to replace")


def read_classes(root: str | Path) -> list[str]:
    """Return the names of the classes, without colours; none where the folder has no such file."""
    return [name for name, _ in _lines(root)]


def class_colours(root: str | Path, count: int) -> npt.NDArray[np.uint8]:
    """Return the colours of classes, [count, 3]: those of classes.txt, else ones that are always the same."""
    given = dict(enumerate(colour for _, colour in _lines(root)))
    return np.array([given.get(number) or _fixed_colour(number) for number in range(count)], np.uint8)


def _lines(root: str | Path) -> list[tuple[str, tuple[int, int, int] | None]]:
    file = Path(root) / CLASSES
    with suppress(OSError):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        return [_split_colour(line) for line in lines]
    return []


def _split_colour(line: str) -> tuple[str, tuple[int, int, int] | None]:
    if not (found := _COLOUR.search(line)):
        return line, None
    red, green, blue = bytes.fromhex(found[1])
    return line[: found.start()], (red, green, blue)


def _fixed_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class: 0, often the ground, is grey; hues of the next are far apart."""
    if not number:
        return 64, 64, 64
    shade = number // 8 % 3
    rgb = colorsys.hsv_to_rgb(number * _GOLDEN % 1, (0.75, 0.45, 0.9)[shade], (0.95, 1.0, 0.6)[shade])
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def count_classes(root: str | Path, list_file: str = TRAIN_LIST) -> int:
    """Return how many classes a data set names: in classes.txt, by folders or in a table; 0 where nothing names any.

    Args:
        root: see `sources.open_source`.
        list_file: the list of training; where it is there, its labels are numbers, and folders do not count.
    """
    if names := read_classes(root):
        return len(names)
    if list_file != TRAIN_LIST or (Path(root) / list_file).exists() or not Path(root).exists():
        return 0
    if (Path(root) / "images").is_dir() and (Path(root) / "masks").is_dir():
        return 0  # images with masks: these folders are no classes
    from mae_data.sources.open_source import open_source

    with suppress(DataError, InputError):  # whoever reads the images reports what is wrong
        source = open_source(root)
        return source.num_classes if all(source.class_folders().values()) else 0
    return 0
