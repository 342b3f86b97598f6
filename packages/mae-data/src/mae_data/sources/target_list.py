"""List files with several labels or with numbers for each image."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mae_data.sources.annotated_list import ListedFiles, read_annotated

NOTHING = "-"  # no label at all


@dataclass(frozen=True)
class Targets:
    """Images with a row of numbers each.

    Attributes:
        images: N files.
        values: float32 [N, T]: 0 or 1 for each class, or the numbers.
    """

    images: ListedFiles
    values: npt.NDArray[np.float32]


def open_targets(
    root: str | os.PathLike[str],
    list_file: str | os.PathLike[str],
    count: int,
    *,
    labels: bool,
    names: Sequence[str] = (),
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
    return Targets(images, values)


def _part(line: bytes, count: int) -> tuple[bytes, list[str], bool]:
    """Part a line into path and words, and tell whether these are a row of `count`, parted by spaces."""
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
            raise ValueError(f"label {word!r} is neither 0 to {count - 1} nor a name of classes.txt")
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
