"""What lists of several labels, or of numbers, hold: how often each label occurs and with which, how numbers spread."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import InputError
from mae_data.sources.annotated_list import open_targets
from mae_data.sources.list_file import TRAIN_LIST, VAL_LIST
from mae_data.sources.source import Targets

PAIRS = 10  # of labels that are named, the most frequent


@dataclass(frozen=True)
class LabelCount:
    """How often a label occurs.

    Attributes:
        images: how many have it.
        share: of all images, in percent.
    """

    label: int
    name: str
    images: int
    share: float


@dataclass(frozen=True)
class LabelPair:
    """Two labels, and how many images have both."""

    names: tuple[str, str]
    images: int


@dataclass(frozen=True)
class LabelReport:
    """What a list of labels holds.

    Attributes:
        list: its name.
        without: images without any label.
        per_image: labels of an image, their mean.
        labels: all of them.
        pairs: the most frequent ones.
    """

    list: str
    images: int
    without: int
    per_image: float
    labels: Sequence[LabelCount]
    pairs: Sequence[LabelPair]

    def remarks(self) -> Iterator[str]:
        """Say what cannot be learnt from the list."""
        for words, count in (("no image", 0), ("every image", self.images)):
            if names := [each.name for each in self.labels if each.images == count]:
                yield f"{self.list}: {words} has {', '.join(names)}"

    def table(self) -> Iterator[str]:
        """Lay out how often each label occurs."""
        width = max(5, *(len(each.name) for each in self.labels))
        yield f"{self.list}: {self.images} images, {self.without} without any label, {self.per_image:.2f} labels each"
        yield f"{'label':{width}}   images  % of images"
        yield from (f"{each.name:{width}} {each.images:8} {each.share:12.2f}" for each in self.labels)
        yield from (f"{' and '.join(pair.names)}: {pair.images} images" for pair in self.pairs)


@dataclass(frozen=True)
class NumberSpread:
    """How a number spreads over the images of a list; std is the population's."""

    number: int
    name: str
    mean: float
    std: float
    min: float
    median: float
    max: float


@dataclass(frozen=True)
class NumberReport:
    """What a list of numbers holds."""

    list: str
    images: int
    numbers: Sequence[NumberSpread]

    def remarks(self) -> Iterator[str]:
        """Say what cannot be learnt from the list."""
        if names := [each.name for each in self.numbers if each.min == each.max]:
            yield f"{self.list}: of every image the same is {', '.join(names)}"

    def table(self) -> Iterator[str]:
        """Lay out how each number spreads."""
        columns = ("mean", "std", "min", "median", "max")
        width = max(6, *(len(each.name) for each in self.numbers))
        yield f"{self.list}: {self.images} images"
        yield f"{'number':{width}}" + "".join(f"{column:>13}" for column in columns)
        for each in self.numbers:
            yield f"{each.name:{width}}" + "".join(f"{getattr(each, column):13.6g}" for column in columns)


TargetReport = LabelReport | NumberReport


def parse_names(word: str, root: str | Path, kind: str) -> list[str]:
    """Read how many labels or numbers there are, or the file that names them, a line each.

    Args:
        word: a count, or a file, here or in `root`.
        kind: "label" or "number", which begins the names where only their count is stated.

    Raises:
        InputError: it is neither.
    """
    if word.isdecimal() and 0 < int(word) < 2**16:
        return [f"{kind}_{i}" for i in range(int(word))]
    for path in (Path(word), Path(root) / word):
        if path.is_file() and (names := path.read_text(encoding="utf-8", errors="replace").splitlines()):
            return names
    raise InputError(f"--{kind}s {word} is neither a number from 1 nor a file of names; state how many there are")


def open_target_lists(
    root: str | Path, lists: Sequence[str] | None, names: Sequence[str], *, labels: bool, **options: Any
) -> list[Targets]:
    """Open the named lists, or those of training and validation; see `open_targets`."""
    chosen = lists or [TRAIN_LIST, *([VAL_LIST] if (Path(root) / VAL_LIST).is_file() else [])]
    return [open_targets(root, name, len(names), labels=labels, names=names, **options) for name in chosen]


def describe_targets(targets: Targets, names: Sequence[str], *, labels: bool) -> TargetReport:
    """Count the labels of a list, or measure its numbers."""
    values, name = targets.values.astype(np.float64), targets.images.name
    if labels:
        return _describe_labels(name, values > 0, names)
    columns = (values.mean(0), values.std(0), values.min(0), np.median(values, 0), values.max(0))
    spreads = [NumberSpread(i, names[i], *row) for i, row in enumerate(np.stack(columns, 1).tolist())]
    return NumberReport(name, len(values), spreads)


def _describe_labels(name: str, has: npt.NDArray[np.bool_], names: Sequence[str]) -> LabelReport:
    images, count = len(has), has.sum(axis=0)
    together = has.T.astype(np.float64) @ has  # [K, K]; exact below 2**53 images
    rows, columns = np.triu_indices(len(names), 1)
    order = np.argsort(-together[rows, columns], kind="stable")[:PAIRS]
    pairs = [(i, j, int(together[i, j])) for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True)]
    return LabelReport(
        name,
        images,
        int((~has.any(axis=1)).sum()),
        float(has.sum() / images),
        [LabelCount(i, names[i], n, 100 * n / images) for i, n in enumerate(count.tolist())],
        [LabelPair((names[i], names[j]), both) for i, j, both in pairs if both],
    )


def targets_json(reports: Sequence[TargetReport]) -> str:
    """Return the text of reports for programs."""
    return json.dumps([asdict(report) for report in reports], indent=2)
