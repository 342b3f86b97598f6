"""What the images of a data set have in common, as far as a recipe depends on it: some of them are read."""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np

from mae_core.errors import UserError
from mae_data.errors import DataError, StoreError
from mae_data.images.bands import Bands
from mae_data.images.geotiff import is_scene
from mae_data.images.nodata import as_nodata
from mae_data.images.pixel_sums import PixelSums, mean_and_std, measure_image
from mae_data.images.stored import PICTURE, Stored, inspect_image, is_8_bit_picture
from mae_data.images.value_range import ANY_FLOATS, ValueRange, as_value_range, range_of_type
from mae_data.images.volumes.slices import is_medical
from mae_data.loading.usual_kind import named_fault
from mae_data.sources.source import Source

Found = TypeVar("Found")
SAMPLE = 32


@dataclass(frozen=True)
class Look:
    """Some images, evenly spread over a list.

    Args:
        images: how many the list has.
        looked: how many of them were read.
        side: the shorter side in pixels, that of the middle one.
        channels: 1 of pictures that are all grey, in whatever way they are stored.
        value_range: as a config states it.
        mean, std: per channel, the ends of the range as 0 and 1; None where those of ImageNet serve.
    """

    images: int
    looked: int
    side: int
    channels: int
    value_range: int | Sequence[float]
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    highest: float | None = None  # stored value

    def __str__(self) -> str:
        grey = " (grey)" if self.channels == 1 else ""
        plural = "" if self.channels == 1 else "s"
        values = f"values up to {self.value_range}" if isinstance(self.value_range, int) else f"{self.value_range}"
        if self.highest is not None and self.value_range == 65535:
            values = f"values up to {self.highest:g} of {self.value_range} (DATA.VALUE_RANGE)"
        return (
            f"{self.looked} of {self.images:,} images looked at: shorter side {self.side} pixels, {self.channels}"
            f" channel{plural}{grey}, {values}"
        )


def look_at(
    images: Source,
    channels: int | None = None,
    value_range: float | Sequence[float] | None = None,
    bands: Bands | None = None,
    nodata: float | str | None = None,
) -> Look:
    """Read some images of a source.

    Args:
        channels, value_range, bands, nodata: see `ListDataset`, as the user states it. None: as most of them have it,
            and all are data.

    Raises:
        DataError: none of them can be read.
        UserError: they are scenes, or of numbers whose range is to be stated.
    """
    places = np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int)).tolist()
    kinds = _of_each(images, places, partial(_kind, images))
    ((usual, _),) = Counter(kinds.values()).most_common(1)
    channels = channels or (len(bands) if bands else usual.channels)
    limits = range_of_type(usual.dtype) if value_range is None else as_value_range(value_range)
    alike = [place for place, kind in kinds.items() if kind == usual]
    measure = partial(measure_image, channels=channels, limits=limits, bands=bands, nodata=as_nodata(nodata))
    found = _of_each(images, alike, lambda place: measure(io.BytesIO(images.read(place))))
    measured = list(found.values())
    if limits == ANY_FLOATS:
        darkest, brightest = min(found, key=lambda p: min(found[p].low)), max(found, key=lambda p: max(found[p].high))
        low, high = min(found[darkest].low), max(found[brightest].high)
        raise UserError(
            f"the pixels are {usual.dtype} and lie from {low:g} ({images.path(darkest)}) to {high:g}"
            f" ({images.path(brightest)}) in {len(measured)} images; state the range that all keep to: DATA.VALUE_RANGE"
            f' "[{low:g}, {high:g}]", or leave out what is unlike the others'
        )
    side = int(median(min(image.width, image.height) for image in measured))
    if channels in (1, 3) and limits.stated == 255:
        return Look(len(images), len(measured), side, 1 if all(map(_is_grey, measured)) else channels, 255)
    highest = max(max(image.high) for image in measured)
    return Look(len(images), len(measured), side, channels, limits.stated, *_rounded(measured, limits), highest)


def _of_each(images: Source, places: Sequence[int], function: Callable[[int], Found]) -> dict[int, Found]:
    """Return what a function says of images, without those that cannot be read: training passes over them, too."""
    found, faults = dict[int, Found](), list[str]()
    for place in places:
        try:
            found[place] = function(place)
        except StoreError:
            raise
        except DataError as error:
            faults.append(str(named_fault(images, place, error)))
    if not found:
        raise DataError(f"none of the {len(places)} images looked at can be read, such as {faults[0]}")
    return found


def _kind(images: Source, place: int) -> Stored:
    """Return what an image holds; 8-bit pictures are not decoded for it."""
    name = images.file(place)
    if name is not None and is_scene(name):
        raise UserError(
            f"{images.path(place)} is a scene, of which windows are read; -cfg auto knows none: name a recipe, with"
            " DATA.CROP native and DATA.CROPS"
        )
    file = io.BytesIO(images.read(place))
    if not is_medical(file) and is_8_bit_picture(file):
        return PICTURE
    return inspect_image(file)


def _is_grey(image: PixelSums) -> bool:
    return len(set(image.sums)) == 1 and len(set(image.squares)) == 1


def _rounded(measured: Sequence[PixelSums], limits: ValueRange) -> tuple[list[float], list[float]]:
    """Return mean and deviation per channel; a channel that is the same everywhere is divided by 1."""
    mean, std = mean_and_std(measured, limits)
    return [float(f"{m:.4g}") for m in mean], [float(f"{s:.4g}") if s > 1e-6 else 1.0 for s in std]
