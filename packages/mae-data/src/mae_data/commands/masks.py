"""What the masks of a data set hold: each beside its image, and how many pixels of each class there are."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError, StoreError
from mae_data.images.value_range import EIGHT_BITS, ValueRange
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.parallel import CHUNK, map_tasks
from mae_data.sources.list_file import read_classes
from mae_data.sources.open_source import PARTS
from mae_data.transforms.pipelines import make_eval_transform

ANY = 2**16  # values that a mask can hold


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs.

    Attributes:
        value: its number in masks.
        name: that of classes.txt, else the number.
        pixels, images: how many are of it, or have some.
        share: of all pixels that count, in percent.
    """

    value: int
    name: str
    pixels: int
    images: int
    share: float


@dataclass(frozen=True)
class MaskReport:
    """What the pairs of a list, or of a part of folders, are like.

    Attributes:
        name: of the list, or of the folder and the part.
        pairs: how many there are.
        bad: what is wrong, with line and file, of those that cannot be used; they are not counted below.
        ignored: pixels that count as no class.
        classes: all that classes.txt names, or else those up to the largest value.
    """

    name: str
    pairs: int
    bad: list[str]
    ignored: int
    classes: list[ClassCount]

    @property
    def unused(self) -> list[str]:
        """Names of the classes of which no mask has a pixel."""
        return [each.name for each in self.classes if not each.pixels]

    def verdict(self) -> list[str]:
        """Say what is wrong."""
        lines = [f"bad: {fault}" for fault in self.bad]
        lines.append(f"{self.name}: {self.pairs} images with masks checked, {len(self.bad)} bad")
        return [*lines, f"no mask has {', '.join(self.unused)}"] if self.unused else lines

    def table(self) -> list[str]:
        """Lay out how often each class occurs."""
        width = max(5, *(len(each.name) for each in self.classes))
        lines = [f"{self.name}: {self.pairs} images with masks", f"{'class':{width}}   images  % of pixels"]
        lines += [f"{each.name:{width}} {each.images:8} {each.share:12.3f}" for each in self.classes]
        every = sum(each.pixels for each in self.classes) + self.ignored
        return [*lines, f"ignored: {100 * self.ignored / max(every, 1):.3f} % of all pixels"]


def open_masks(
    root: str | Path,
    lists: Sequence[str] | None,
    *,
    ignore: int,
    limits: ValueRange | None,
    allow_outside: bool,
    opt_in: str,
    **options: Any,
) -> dict[str, MaskDataset]:
    """Open the named lists of pairs, or the parts that are there, by name.

    Args:
        limits: the value range of the images; None: 8 bits.
        options: those of `MaskDataset` on how images are read.
    """
    there = {name: (Path(root) / name).is_file() or (Path(root) / "images" / PARTS[name]).is_dir() for name in PARTS}
    train, *others = PARTS
    chosen = lists or [train, *(other for other in others if there[other])]
    return {
        _name_of(root, name): MaskDataset(
            root,
            name,
            make_eval_transform(image_size=1),  # images stay whole here
            classes=len(read_classes(root)) or ANY,
            ignore=ignore,
            value_range=limits or EIGHT_BITS,
            allow_outside=allow_outside,
            opt_in=opt_in,
            **options,
        )
        for name in chosen
    }


def _name_of(root: str | Path, list_name: str) -> str:
    is_list = (path := Path(root) / list_name).is_file()
    return str(path) if is_list else f"{root}, {PARTS.get(list_name, list_name)}"


def survey_masks(name: str, dataset: MaskDataset, workers: int) -> MaskReport:
    """Read all pairs.

    Args:
        name: that `open_masks` gives the pairs.
        workers: number of processes.
    """
    pixels, images, bad = np.zeros(ANY, np.int64), np.zeros(ANY, np.int64), []
    for found in map_tasks(_Pair(dataset), range(len(dataset)), workers, CHUNK):
        if isinstance(found, DataError):
            bad.append(str(found))
            continue
        values, counts = found
        pixels[values] += counts
        images[values] += 1
    ignored, pixels[dataset.ignore] = int(pixels[dataset.ignore]), 0
    return MaskReport(name, len(dataset), bad, ignored, list(_classes(dataset, pixels, images)))


class _Pair:
    """Reads a pair and counts the values of its mask, or returns what is wrong: one bad pair does not end the rest."""

    def __init__(self, dataset: MaskDataset) -> None:
        self._dataset = dataset

    def __call__(self, index: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]] | DataError:
        try:
            pair = self._dataset.whole(index)
        except StoreError:
            raise
        except DataError as error:
            return error
        assert pair is not None  # faults are raised
        return np.unique(pair[1], return_counts=True)


def _classes(
    dataset: MaskDataset, pixels: npt.NDArray[np.int64], images: npt.NDArray[np.int64]
) -> Iterator[ClassCount]:
    count = dataset.classes if dataset.classes < ANY else int(np.max(np.flatnonzero(pixels), initial=-1)) + 1
    names = read_classes(dataset.pairs.images.root) or [str(value) for value in range(count)]
    for value, name in enumerate(names):
        share = 100 * int(pixels[value]) / max(int(pixels.sum()), 1)
        yield ClassCount(value, name, int(pixels[value]), int(images[value]), share)


def masks_json(reports: Sequence[MaskReport]) -> str:
    """Return the text of reports for programs."""
    return json.dumps([{**asdict(report), "unused": report.unused} for report in reports], indent=2) + "\n"


def require_none(**flags: object) -> None:
    """Refuse flags that say nothing of masks.

    Raises:
        InputError: one was given.
    """
    for name, value in flags.items():
        if value:
            raise InputError(f"--{name.replace('_', '-')} and --masks exclude each other; leave one of them out")
