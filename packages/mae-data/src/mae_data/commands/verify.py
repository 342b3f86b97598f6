"""Checking that every image of some lists can be read."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from mae_data.errors import DataError, ImageError, InputError
from mae_data.files import write_atomically
from mae_data.images.bands import Bands
from mae_data.images.nodata import as_nodata
from mae_data.images.scene import Scene, inspect_scene
from mae_data.images.stored import PICTURE, Stored, inspect_image, read_image
from mae_data.images.value_range import EIGHT_BITS, ValueRange, range_of_type
from mae_data.parallel import map_images
from mae_data.sources.file_source import file_orientation
from mae_data.sources.image_list import ImageList
from mae_data.sources.list_file import list_text
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
    """The result of `verify_lists`.

    Attributes:
        images: number of images by list.
        bad: entries whose images cannot be used.
        duplicates: entries that repeat a path.
        turned: how many images carry an EXIF rotation.
        shared: images whose content is in an earlier list, too.
        usual: what most images hold, by which all were judged; None where that was stated.
    """

    images: dict[str, int] = field(default_factory=dict)
    bad: list[BadImage] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    turned: int = 0
    shared: list[Duplicate] = field(default_factory=list)
    usual: str | None = None

    def lines(self, shown: int) -> list[str]:
        """Describe the report for people.

        Args:
            shown: how many bad images, and how many duplicates, are named.
        """
        lines = [f"bad: {bad.list}:{bad.line} ({bad.path}): {bad.reason}" for bad in self.bad[:shown]]
        lines += [
            f"duplicate: {each.list}:{each.line} ({each.path}), first in {each.first}"
            for each in self.duplicates[:shown]
        ]
        if self.shared:
            first = self.shared[0]
            lines.append(
                f"warning: {len(self.shared)} images of {first.list} have the same content as one of another list,"
                f" first {first.path} as {first.first}: what is scored was trained on (`mae-data index --group-by`)"
            )
        total = sum(self.images.values())
        lines.append(f"{total} images checked, {len(self.bad)} bad, {len(self.duplicates)} duplicates")
        if self.usual:
            lines.append(f"judged by what most of them hold: {self.usual}")
        if self.turned:
            lines.append(f"{self.turned} carry an EXIF rotation: they are turned upright, unless EXIF is False")
        return lines

    def to_json(self, root: str) -> str:
        """Return the text of the report's file."""
        return json.dumps({"root": root, "ok": not self.bad, **asdict(self)}, indent=2) + "\n"


def verify_lists(
    lists: Sequence[Source],
    workers: int,
    channels: int | None = None,
    limits: ValueRange | None = None,
    bands: Bands | None = None,
    nodata: float | str | None = None,
) -> Report:
    """Decode every image of every list fully.

    Args:
        lists: the lists.
        workers: number of processes.
        channels, limits, bands: what all images must have, and what is taken of them; without all three, they must have
            what most of them hold.
        nodata: what stands for no data, and need not keep to the limits.
    """
    report, hashes = Report(), list[list[bytes]]()
    if channels or limits or bands:
        count = len(bands) if bands else channels or 3
        read = partial(_read, channels=count, limits=limits or EIGHT_BITS, bands=bands, nodata=as_nodata(nodata))
        found = [list(map_images(partial(_check, read), images, workers)) for images in lists]
    else:
        known: dict[Stored, Stored] = {}  # one object of each kind: there may be millions of images
        found = [[_sharing(known, good) for good in map_images(_inspect, images, workers)] for images in lists]
        report.usual = _judge(lists, found, workers, "file" if nodata is None else nodata)
    for images, judged in zip(lists, found, strict=True):  # parts of one table have one name
        report.images[images.name] = report.images.get(images.name, 0) + len(images)
        content: list[bytes] = []
        for index, fault in enumerate(judged):
            if isinstance(fault, DataError):
                reason = fault.reason if isinstance(fault, ImageError) else str(fault)
                line = images.number(index)
                report.bad.append(BadImage(images.name, line, images.path(index), reason))
                content.append(b"")
            else:
                report.turned += fault.orientation > 1
                content.append(fault.digest)
        hashes.append(content)
    report.shared = _find_shared(lists, hashes)
    report.duplicates = _find_duplicates(lists)
    return report


class GoodImage(NamedTuple):
    """What is kept about an image that can be used.

    Attributes:
        orientation: that of EXIF.
        digest: a hash of the file's content.
        kind: what it holds; None where that was stated.
    """

    orientation: int
    digest: bytes
    kind: Stored | None = None


_Judged: TypeAlias = GoodImage | DataError


def _sharing(known: dict[Stored, Stored], good: _Judged) -> _Judged:
    if isinstance(good, DataError) or good.kind is None:
        return good
    return good._replace(kind=known.setdefault(good.kind, good.kind))


def _judge(lists: Sequence[Source], found: Sequence[list[_Judged]], workers: int, nodata: float | str) -> str | None:
    """Read what is not as most images are, as training on the most would; its faults take their places in `found`.

    Returns:
        what most hold; None for 8-bit pictures alone.
    """
    kinds = Counter(good.kind for each in found for good in each if isinstance(good, GoodImage) and good.kind)
    if set(kinds) <= {PICTURE}:
        return None
    ((usual, count),) = kinds.most_common(1)
    limits = range_of_type(usual.dtype)
    read = partial(_check, partial(_read, channels=usual.channels, limits=limits, nodata=as_nodata(nodata)))
    for images, judged in zip(lists, found, strict=True):
        others = [i for i, good in enumerate(judged) if isinstance(good, GoodImage) and good.kind != usual]
        for place, result in zip(others, map_images(read, images, workers, others), strict=True):
            judged[place] = result
    plural, white = "s" * (usual.channels > 1), "LOW HIGH" if limits.is_float else str(limits)
    return (
        f"{usual.channels} channel{plural} of {usual.dtype.name}, {count} of {kinds.total()}"
        f" (--channels {usual.channels} --value-range {white})"
    )


def _inspect(file: BinaryIO | bytes) -> GoodImage:
    """Decode an image."""
    if not isinstance(file, bytes):
        kind = inspect_image(file)
        return _describe(file)._replace(kind=kind)
    kind = inspect_scene(file)
    limits = range_of_type(kind.dtype)
    read = partial(_read, channels=kind.channels, limits=limits, nodata=as_nodata("file"))
    return _check(read, file)._replace(kind=kind)


def _read(file: BinaryIO | bytes, channels: int, limits: ValueRange, **chosen: Any) -> None:
    """Decode all of an image, a scene part by part."""
    if not isinstance(file, bytes):
        read_image(file, channels, limits, **chosen)
        return
    scene = Scene(file, channels, limits, **chosen)
    for box in scene.parts():
        scene.read(box)
    scene.close()


def _check(read: Callable[[BinaryIO | bytes], object], file: BinaryIO | bytes) -> GoodImage:
    read(file)
    return _describe(file)


def _describe(file: BinaryIO | bytes) -> GoodImage:
    if isinstance(file, bytes):
        digest = hashlib.sha256()
        with open(file, "rb") as scene:
            while part := scene.read(1 << 20):
                digest.update(part)
        return GoodImage(1, digest.digest())
    file.seek(0)
    orientation = file_orientation(file)
    file.seek(0)
    return GoodImage(orientation, hashlib.sha256(file.read()).digest())


def _find_shared(lists: Sequence[Source], hashes: Sequence[Sequence[bytes]]) -> list[Duplicate]:
    """Find images whose content is also in an earlier list, such as that of another part."""
    first: dict[bytes, str] = {}
    shared = []
    for images, content in zip(lists, hashes, strict=True):
        shared += [
            Duplicate(images.name, images.number(i), images.path(i), first[digest])
            for i, digest in enumerate(content)
            if digest and digest in first
        ]
        first |= {digest: images.describe(i) for i, digest in enumerate(content) if digest}
    return shared


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


def require_lists(lists: Sequence[Source]) -> list[ImageList]:
    """Return the sources as lists that can be written anew.

    Raises:
        InputError: one is no list.
    """
    found = [images for images in lists if isinstance(images, ImageList)]
    if len(found) < len(lists):
        raise InputError("--write-lists is for lists: `mae-data index ROOT` writes them for a folder of images")
    return found


def write_clean_lists(lists: Sequence[ImageList], bad: Sequence[BadImage]) -> dict[str, int]:
    """Write each list that has bad images beside it, as NAME_clean.txt, without them.

    Returns:
        how many images each file that was written has.
    """
    written = {}
    for images in lists:
        lines = {entry.line for entry in bad if entry.list == images.name}
        good = [i for i in range(len(images)) if images.number(i) not in lines]
        if lines and good:
            path = Path(images.name)
            path = path.with_name(f"{path.stem}_clean{path.suffix}")
            write_atomically(path, list_text(images.entry(i) for i in good))
            written[str(path)] = len(good)
    return written
