"""Checking that every image of some lists can be read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mae_data.errors import DataError, ImageError
from mae_data.images.stored import inspect_image, read_image
from mae_data.images.value_range import EIGHT_BITS, ValueRange
from mae_data.parallel import map_images
from mae_data.sources.source import Source


@dataclass(frozen=True)
class BadImage:
    """An entry whose image cannot be used."""

    list: str
    line: int
    path: str
    reason: str


@dataclass(frozen=True)
class Duplicate:
    """An entry that repeats the path of an earlier one, in the same list or another."""

    list: str
    line: int
    path: str
    first: str


@dataclass
class Report:
    """What `verify_lists` found."""

    images: dict[str, int] = field(default_factory=dict)
    bad: list[BadImage] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)

    def as_json(self, root: Path) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"root": str(root), "ok": not self.bad, **asdict(self)}


def verify_lists(
    lists: Sequence[Source], workers: int, channels: int | None = None, limits: ValueRange | None = None
) -> Report:
    """Decode every image of every list fully.

    Args:
        lists: the lists.
        workers: number of processes.
        channels, limits: what all images must have; without both, they only have to be readable.
    """
    check = (
        partial(_check, channels=channels or 3, limits=limits or EIGHT_BITS) if channels or limits else inspect_image
    )
    report = Report(images={images.name: len(images) for images in lists})
    for images in lists:
        for index, fault in enumerate(map_images(check, images, workers)):
            if isinstance(fault, DataError):
                reason = fault.reason if isinstance(fault, ImageError) else str(fault)
                line = images.number(index)
                report.bad.append(BadImage(images.name, line, images.path(index), reason))
    report.duplicates = _find_duplicates(lists)
    return report


def _check(file: BinaryIO, channels: int, limits: ValueRange) -> None:
    read_image(file, channels, limits)


def _find_duplicates(lists: Sequence[Source]) -> list[Duplicate]:
    first: dict[str, tuple[Source, int]] = {}
    duplicates = []
    for images in lists:
        for index in range(len(images)):
            path = images.path(index)
            if path in first:
                earlier, place = first[path]
                where = f"{earlier.name}:{earlier.number(place)}"
                duplicates.append(Duplicate(images.name, images.number(index), path, where))
            else:
                first[path] = (images, index)
    return duplicates
