"""What a dataset needs of the place that its images come from, and what stands beside each of them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

NO_LABEL = -1
# Labels end up in int64 tensors, but nobody has this many classes: a larger number is a damaged line.
MAX_LABEL = 2**31 - 1


class Fingerprint(TypedDict):
    """The content of a source in short; a resumed run compares it."""

    images: int
    sha256: str


class Source(ABC):
    """Images with labels and names, each of which can be read alone and in any order.

    Attributes:
        name: what messages call the source: its list file, folder or index.
        labels: int64 [N]; -1 where an image has none.
        duplicates: how many entries repeat the name of an earlier one.
        notes: what a run logs about it at its start, a line each.
    """

    name: str
    labels: npt.NDArray[np.int64]
    duplicates: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the encoded image of entry `index`.

        Raises:
            ImageError: this image cannot be read.
            DataError: no image can: the store is gone.
        """

    def file(self, index: int) -> bytes | None:
        """Return the name of the file that is the image of entry `index`; None where it lies in another."""
        return None

    def fetch(self, indices: Sequence[int]) -> None:  # noqa: B027 - most sources gain nothing by it
        """Prepare for `read` of these entries, each once: a source far away reads them at the same time.

        Args:
            indices: entries, of one batch.
        """

    @abstractmethod
    def path(self, index: int) -> str:
        """Return the name of entry `index` within the source."""

    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Return the number of images and a hash of names, order and labels; the images are not read."""

    @abstractmethod
    def state(self) -> str:
        """Return a hash that changes with the images, as far as sizes and times of files show it; none is read."""

    def number(self, index: int) -> int:
        """Return what messages count entry `index` as: its line, or its index from 0 where there are none."""
        return index

    def describe(self, index: int) -> str:
        """Return `NAME:NUMBER (path)` for messages about entry `index`."""
        return f"{self.name}:{self.number(index)} ({self.path(index)})"

    def describe_batch(self, indices: Iterable[int]) -> str:
        """Name the first eight of a batch's entries for messages."""
        return ", ".join(self.describe(int(index)) for index in islice(indices, 8))

    @cached_property
    def num_classes(self) -> int:
        """Largest label + 1; 0 without labels."""
        return int(self.labels.max(initial=NO_LABEL)) + 1

    def class_folders(self, labels: npt.NDArray[np.int64] | None = None) -> dict[int, str]:
        """Name each class by the folder that its first image lies in.

        Args:
            labels: int64 [N], instead of those of the source.
        """
        classes, first = np.unique(self.labels if labels is None else labels, return_index=True)
        return {
            int(c): os.path.basename(os.path.dirname(self.path(int(i)))) for c, i in zip(classes, first, strict=True)
        }


@dataclass(frozen=True)
class TargetType:
    """What a data set has for each image beside it.

    Args:
        shape: () for a class, [T] for several labels or numbers, [H, W] for a mask.
        dtype: int64 for a class.
    """

    shape: tuple[int, ...] = ()
    dtype: str = "int64"

    @classmethod
    def of(cls, dataset: object) -> "TargetType":
        """Return the target type of a data set; a class where it states none."""
        target_type = getattr(dataset, "target_type", None)
        return target_type if isinstance(target_type, cls) else cls()


@dataclass(frozen=True)
class Targets:
    """Images, and what stands beside each: its class or, in place of one, a row of numbers.

    Attributes:
        images: N of them.
        values: int64 [N], or float32 [N, T].
        flags: how `mae-data verify` is told what they are.
    """

    images: Source
    values: npt.NDArray[Any]
    flags: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def type(self) -> TargetType:
        """What the loader gives."""
        return TargetType(self.values.shape[1:], self.values.dtype.name)

    @property
    def missing(self) -> Any:
        """What stands beside an image that is left out."""
        return np.full(self.type.shape, -1, self.type.dtype)

    def read(self, index: int, image: Any, cut: Callable[[Any], npt.NDArray[Any]]) -> Any:
        """Return what stands beside an image.

        Args:
            index: its place in the list.
            image: the opened image.
            cut: transforms a picture as the image is transformed.
        """
        return self.values[index]
