"""Numbers that describe a data set: classes, sizes, and the mean and deviation of its pixels."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mae_data.errors import DataError, InputError
from mae_data.files import write_atomically
from mae_data.images.bands import Bands
from mae_data.images.nodata import as_nodata
from mae_data.images.pixel_sums import PixelSums, mean_and_std, measure_image
from mae_data.images.value_range import ANY_FLOATS, as_value_range, range_of_type
from mae_data.loading.bad_images import BadImages, pixel_flags
from mae_data.loading.usual_kind import named_fault, usual_kind
from mae_data.parallel import map_images
from mae_data.sources.source import NO_LABEL, Source

_KEYS = {"IMAGE_CHANNELS": "channels", "VALUE_RANGE": "value_range", "IMAGENET_MEAN": "mean", "IMAGENET_STD": "std"}


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of some numbers."""

    min: int
    median: float
    max: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Take it of numbers, of which there is at least one."""
        return cls(min(values), float(np.median(values)), max(values))


@dataclass(frozen=True)
class Statistics:
    """What describes the images of a list.

    Attributes:
        list: name of the list.
        images, skipped, duplicates, unlabelled, classes: counts; what was skipped counts among the images and classes.
        images_per_class: None without labels.
        width, height: in pixels.
        channels, bands, value_range: as they were asked for, or as most images have them.
        lowest, highest: per channel over all pixels at original size, as stored.
        mean, std: per channel (population deviation), the ends of the value range as 0 and 1.
        nodata: what stood for no data, and was left out; None: nothing.
        without_data: share of the values that were left out; None where nothing stood for no data.
    """

    list: str
    images: int
    skipped: int
    duplicates: int
    unlabelled: int
    classes: int
    images_per_class: Spread | None
    width: Spread
    height: Spread
    channels: int
    bands: "Sequence[int | str] | None"
    value_range: "Sequence[float] | int"
    lowest: "Sequence[float]"
    highest: "Sequence[float]"
    mean: "Sequence[float]"
    std: "Sequence[float]"
    nodata: "float | str | None" = None
    without_data: float | None = None

    def table(self) -> Iterator[str]:
        """Yield a line for people per number."""
        yield from (f"{name.replace('_', ' '):17} {_as_text(value)}" for name, value in asdict(self).items())


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    if isinstance(value, list):
        return " ".join(str(n) if isinstance(n, int | str) else f"{n:.6f}" for n in value)
    return "-" if value is None else str(value)


def describe_list(
    images: Source,
    *,
    channels: int | None = None,
    value_range: float | Sequence[float] | None = None,
    bands: Bands | None = None,
    nodata: float | str | None = None,
    workers: int = 1,
    verify: str = "mae-data verify",
) -> Statistics:
    """Describe the images of a list; as in training, bad ones are skipped and logged, unless they are many.

    Args:
        images: the list.
        channels: as many as all images have; 8-bit pictures are converted to 3 (RGB) or 1 (grey). None: those of
            most images, of some, 3 for 8-bit pictures.
        bands: those of each image that count; None: all.
        nodata: what stands for no data and is left out; see `ListDataset`.
        value_range: see `ListDataset`. None: 255 or 65535, by the type of most images.
        workers: number of processes.
        verify: the command that finds all bad images, but for what they must hold.

    Raises:
        DataError: more images than `BadImages` allows cannot be read, or are not like the others; it names a line.
        InputError: floats, or numbers with a sign, of which no range is stated.
        ValueError: a range that is none.
    """
    usual = usual_kind(images, verify)
    channels = (len(bands) if bands else channels) or usual.channels
    limits = range_of_type(usual.dtype) if value_range is None else as_value_range(value_range)
    bad = BadImages(len(images), verify=verify + pixel_flags(channels, limits, bands, nodata))
    measure = partial(measure_image, channels=channels, limits=limits, bands=bands, nodata=as_nodata(nodata))
    measured = list(_without_bad(images, map_images(measure, images, workers), bad))
    lowest, highest = (np.array([getattr(m, end) for m in measured]) for end in ("low", "high"))
    if limits == ANY_FLOATS:
        raise InputError(
            f"the pixels are {usual.dtype} from {lowest.min():g} to {highest.max():g};"
            " state the range that all images keep to with --value-range LOW HIGH"
        )
    labels = images.labels[images.labels != NO_LABEL]
    per_class = np.bincount(labels)
    mean, std = mean_and_std(measured, limits)
    return Statistics(
        list=images.name,
        images=len(images),
        skipped=len(images) - len(measured),
        duplicates=images.duplicates,
        unlabelled=len(images) - len(labels),
        classes=int(np.count_nonzero(per_class)),
        images_per_class=Spread.of(per_class[per_class > 0].tolist()) if len(labels) else None,
        width=Spread.of([image.width for image in measured]),
        height=Spread.of([image.height for image in measured]),
        channels=channels,
        bands=list(bands) if bands else None,
        value_range=limits.stated,
        lowest=lowest.min(axis=0).tolist(),
        highest=highest.max(axis=0).tolist(),
        mean=mean,
        std=std,
        nodata=nodata,
        without_data=None if nodata is None else _without_data(measured),
    )


def _without_data(measured: Sequence[PixelSums]) -> float:
    """Return the share of values that do not count."""
    values = sum(image.width * image.height * len(image.counts) for image in measured)
    return (values - sum(sum(image.counts) for image in measured)) / values


def _without_bad(images: Source, found: Iterable[PixelSums | DataError], bad: BadImages) -> Iterator[PixelSums]:
    for place, result in enumerate(found):
        if isinstance(result, DataError):
            bad.add(place, named_fault(images, place, result))
        else:
            yield result


def write_stats(path: Path, stats: Statistics) -> None:
    """Write channels, value range, mean and deviation.

    Args:
        path: a .yaml file; one that exists is replaced.
        stats: what `describe_list` returned.

    Raises:
        InputError: the file has another suffix, or cannot be written.
        DataError: a channel is the same everywhere, so that there is nothing to divide by.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--yaml {path} does not end in .yaml; name such a file")
    constant = [str(channel) for channel, deviation in enumerate(stats.std) if not deviation > 0]
    if constant:
        raise DataError(f"{stats.list}: channel {', '.join(constant)} (from 0) is the same in all pixels; leave it out")
    lines = [f"# mae-data stats: {stats.images} images of {stats.list}", "DATA:"]
    lines += [f"  {key}: {getattr(stats, name)}" for key, name in _KEYS.items()]
    also = {"BANDS": stats.bands, "NODATA": stats.nodata}
    lines += [f"  {key}: {json.dumps(value)}" for key, value in also.items() if value is not None]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
