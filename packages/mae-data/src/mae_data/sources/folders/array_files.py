"""A folder with arrays of images: NumPy's `images.npy` with `labels.npy`, or the IDX files of the MNIST family."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mae_data.errors import DataError
from mae_data.images.volumes.arrays import count_images, open_array
from mae_data.sources.list_file import Entry
from mae_data.sources.source import MAX_LABEL, NO_LABEL

_WORDS = {"train": ("train",), "val": ("validation", "valid", "val", "test", "t10k")}
_NUMPY = re.compile(r"(?:[a-z0-9]+[_-])?images(?:[_-][a-z0-9]+)?\.npy")
_IDX = re.compile(r".*images.*(?:idx[34].*|\.idx)")
_MOST_ENTRIES = 10_000


@dataclass(frozen=True)
class ArrayFiles:
    """The files of a part.

    Attributes:
        images: file of the images.
        labels: file of their labels; None where there is none.
    """

    images: Path
    labels: Path | None

    def entries(self, labelled: bool) -> list[Entry]:
        """Return name and label of each image.

        Raises:
            DataError: a file is damaged, or labels do not fit the images, or are needed and missing.
        """
        with _named(self.images):
            count = count_images(os.fsencode(self.images))
        name = os.fsencode(self.images.name)
        if not labelled or self.labels is None:
            if labelled:
                raise DataError(f"{self.images}: labels are needed, and {labels_name(self.images.name)} is not there")
            return [(name + b"[%d]" % number, None) for number in range(count)]
        labels = _read_labels(self.labels, self.images, count)
        return [
            (name + b"[%d]" % number, None if label == NO_LABEL else label)
            for number, label in enumerate(labels.tolist())
        ]

    def files(self) -> list[bytes]:
        """Return the names of the files."""
        return [os.fsencode(path.name) for path in (self.images, self.labels) if path]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # on damaged files NumPy and gzip raise nearly anything
        raise DataError(f"{path}: cannot read the array ({error})".splitlines()[0]) from error


def _read_labels(path: Path, images: Path, count: int) -> np.ndarray:
    with _named(path):
        labels = np.asarray(open_array(os.fsencode(path)))
        if labels.shape not in ((count,), (count, 1)):
            raise DataError(f"shape {labels.shape}; {images.name} has {count} images, so allowed is ({count},)")
        if labels.dtype.kind not in "ui":
            raise DataError(f"{labels.dtype} values; labels are integers from 0")
        if count and not (int(labels.min()) >= NO_LABEL and int(labels.max()) <= MAX_LABEL):
            raise DataError(f"labels from {labels.min()} to {labels.max()}; allowed are 0 and above, -1 for none")
    return labels.reshape(-1).astype(np.int64)


def labels_name(images: str) -> str:
    """Return what the file of the labels is called."""
    return re.sub("idx[34]", "idx1", images.replace("images", "labels"))


def find_arrays(root: Path) -> dict[str, ArrayFiles]:
    """Find the arrays of the parts "train" and "val" in a folder, by their names; empty where there are none.

    Raises:
        DataError: several are of one part.
    """
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in islice(entries, _MOST_ENTRIES + 1))
    if len(names) > _MOST_ENTRIES:  # a folder of images
        return {}
    found: dict[str, dict[int, list[str]]] = {part: defaultdict(list) for part in _WORDS}
    for name in names:
        bare = name.lower().removesuffix(".gz")
        if not name.startswith(".") and (_NUMPY.fullmatch(bare) or _IDX.fullmatch(bare)):
            part, rank = _part_of(bare)
            found[part][rank].append(name)
    parts = {}
    for part, by_rank in found.items():
        best = by_rank[min(by_rank)] if by_rank else []
        if len(best) > 1:
            raise DataError(f"{root}: {', '.join(best)} are all of the part {part!r}; give each a folder of its own")
        if best:
            parts[part] = ArrayFiles(root / best[0], _labels_of(root, best[0], names))
    return parts if "train" in parts else {}


def _part_of(name: str) -> tuple[str, int]:
    """Return the part that a name stands for, and how well; a name without such a word is of training."""
    words = re.split("[^a-z0-9]+", name)
    for part, known in _WORDS.items():
        for rank, word in enumerate(known):
            if word in words:
                return part, rank
    return "train", len(words)


def _labels_of(root: Path, images: str, names: list[str]) -> Path | None:
    wanted = labels_name(images)
    others = (wanted, f"{wanted}.gz", wanted.removesuffix(".gz"))
    return next((root / name for name in others if name in names), None)
