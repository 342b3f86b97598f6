"""The lines of a list, `path label` each: many at once in NumPy, and one at a time to say what is wrong."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.sources.source import MAX_LABEL, NO_LABEL

BLOCK_BYTES = 4 << 20
LABEL_DIGITS = 10
BOM = b"\xef\xbb\xbf"
_NEWLINE, _SLASH, _DOT, _MINUS, _ZERO = b"\n/.-0"
# What bytes.strip and bytes.split take for white space.
_SPACE = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c"))

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lines:
    """The lines of a block that are not blank.

    Attributes:
        text: their paths, each ended by a newline.
        ends: int64 [N], where each path ends in `text`, its newline included.
        labels: int64 [N]; -1 where a line has none.
        numbers: int64 [N], line numbers.
        leaves: whether a path is absolute or has a `..` part.
        faulty: whether a line is wrong whatever the caller allows.
    """

    text: bytes
    ends: Ints
    labels: Ints
    numbers: Ints
    leaves: bool
    faulty: bool


def read_blocks(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (number of its first line, whole lines in UTF-8, the same as in the file) of a list, block by block.

    Raises:
        DataError: the list is not UTF-8, or has a line that no path can be.
    """
    number, rest, mark = 1, b"", BOM
    while chunk := file.read(BLOCK_BYTES):
        end = chunk.rfind(b"\n") + 1
        if not end:
            rest += chunk
        else:
            block, rest = rest + chunk[:end], chunk[end:]
            yield number, _checked(block.removeprefix(mark), number, name), block
            number, mark = number + block.count(b"\n"), b""
        if len(rest) > BLOCK_BYTES:
            raise DataError(f"{name}:{number}: a line of more than {BLOCK_BYTES} bytes; this is no list of images")
    if rest:
        yield number, _checked(rest.removeprefix(mark), number, name) + b"\n", rest


def _checked(block: bytes, number: int, name: str) -> bytes:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + block.count(b"\n", 0, error.start)
        raise DataError(f"{name}:{line}: not UTF-8; save the list as UTF-8") from error
    return block


def parse_lines(block: bytes, number: int) -> Lines:
    """Split whole lines into paths and labels.

    Args:
        block: lines, each ended by a newline.
        number: of the first of them.
    """
    bytes_ = np.frombuffer(block, np.uint8)
    space = _SPACE[bytes_]
    starts, stops, numbers = _strip(bytes_, space, number)
    words = _last_word(space, stops)
    labels, odd = _read_labels(bytes_, starts, words, stops)
    faulty = False
    for i in np.flatnonzero(odd):
        try:
            labels[i] = split_line(block[starts[i] : stops[i]], False, MAX_LABEL)[1]
        except ValueError:
            faulty = True
    ends = np.where(labels == NO_LABEL, stops, words - 1)
    ends = _shrink(space, starts, ends)
    leaves = _any_leaves(block, bytes_, starts, ends)
    text, text_ends = _join(bytes_, starts, ends)
    return Lines(text, text_ends, labels, numbers, leaves, faulty)


def _strip(bytes_: npt.NDArray[np.uint8], space: Bools, number: int) -> tuple[Ints, Ints, Ints]:
    """Return begin, end and number of each line that is not blank, without outer white space."""
    stops = np.flatnonzero(bytes_ == _NEWLINE)
    starts = np.concatenate([[0], stops[:-1] + 1])
    numbers = np.arange(number, number + len(stops))
    while (inside := space[starts] & (starts < stops)).any():
        starts += inside
    stops = _shrink(space, starts, stops)
    kept = starts < stops
    return starts[kept], stops[kept], numbers[kept]


def _shrink(space: Bools, starts: Ints, stops: Ints) -> Ints:
    while (inside := space[stops - 1] & (starts < stops)).any():
        stops = stops - inside
    return stops


def _last_word(space: Bools, stops: Ints) -> Ints:
    """Return where the last word of each line begins; before the line's begin where it has one word only."""
    spaces = np.concatenate([[-1], np.flatnonzero(space)])
    return spaces[np.searchsorted(spaces, stops) - 1] + 1


def _read_labels(bytes_: npt.NDArray[np.uint8], starts: Ints, words: Ints, stops: Ints) -> tuple[Ints, Bools]:
    """Return the label of each line, -1 where its last word is none, and which lines need a closer look."""
    lengths = stops - words
    several = words > starts
    plain = several & (lengths <= LABEL_DIGITS)
    values = np.zeros(len(starts), np.int64)
    for place in range(min(LABEL_DIGITS, int(lengths.max(initial=0)))):
        active = place < lengths
        digits = bytes_[np.minimum(words + place, len(bytes_) - 1)].astype(np.int64) - _ZERO
        plain &= ~active | ((digits >= 0) & (digits <= 9))
        values = np.where(active, values * 10 + digits, values)
    labelled = plain & (values <= MAX_LABEL)
    odd = several & ~labelled & ((lengths > LABEL_DIGITS) | plain | (bytes_[words] == _MINUS))
    return np.where(labelled, values, NO_LABEL), odd


def _any_leaves(block: bytes, bytes_: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> bool:
    suspects = bytes_[starts] == _SLASH
    if b".." in block:
        dots = np.flatnonzero((bytes_[:-1] == _DOT) & (bytes_[1:] == _DOT))
        lines = np.searchsorted(starts, dots, side="right") - 1
        suspects[lines[lines >= 0]] = True
    if os.name == "nt":
        suspects[:] = True
    return any(leaving(block[starts[i] : ends[i]]) for i in np.flatnonzero(suspects))


def _join(bytes_: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> tuple[bytes, Ints]:
    """Return the paths, each ended by a newline, and where they end: what follows a path becomes its newline."""
    steps = np.zeros(len(bytes_) + 1, np.int8)
    steps[starts] = 1
    steps[ends + 1] -= 1
    text = bytes_.copy()
    text[ends] = _NEWLINE
    return text[np.cumsum(steps[:-1], dtype=np.int8) > 0].tobytes(), np.cumsum(ends - starts + 1)


def find_faults(
    block: bytes, number: int, *, labels_required: bool, max_label: int, allow_outside: bool, opt_in: str
) -> Iterator[tuple[int, str]]:
    """Yield (line number, reason) of the bad lines of a block; see `parse_lines`."""
    for line_number, line in enumerate(block.split(b"\n"), number):
        line = line.strip()
        try:
            path = split_line(line, labels_required, max_label)[0] if line else b""
        except ValueError as error:
            yield line_number, str(error)
            continue
        if not allow_outside and (how := leaving(path)):
            yield line_number, f"path {path.decode()!r} {how}; write it relative to the root, or opt in with {opt_in}"


def split_line(line: bytes, label_required: bool, max_label: int) -> tuple[bytes, int]:
    """Split one line into path and label; ValueError says what is wrong with it."""
    *path, last = line.rsplit(None, 1)
    if path and last.isdigit():
        label = int(last.lstrip(b"0")[: LABEL_DIGITS + 1] or b"0")  # int() refuses thousands of digits
        if label > max_label:
            raise ValueError(f"label {last.decode():.24} is too large; the largest allowed is {max_label}")
        return path[0], label
    if path and last[:1] == b"-" and last[1:].isdigit():
        raise ValueError(f"label {last.decode()} is negative; labels count from 0")
    if not label_required:
        return line, NO_LABEL
    if not path:
        raise ValueError(f"no label in {line.decode()!r}; write `path label`")
    raise ValueError(f"label {last.decode()!r} is not an integer; write `path label`")


def leaving(path: bytes) -> str:
    """Say how a path leaves the folder that it starts from; empty when it does not."""
    if path[:1] == b"/" or (os.name == "nt" and os.path.isabs(path)):
        return "is absolute"
    if b".." in path and b".." in path.replace(b"\\", b"/").split(b"/"):
        return "leaves the root by `..`"
    return ""
