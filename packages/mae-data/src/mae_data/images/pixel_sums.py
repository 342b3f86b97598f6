"""Sums over the pixels of an image, from which mean and deviation of a whole data set follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.bands import Bands
from mae_data.images.formats import File
from mae_data.images.nodata import Nodata
from mae_data.images.scene import Scene
from mae_data.images.stored import read_image, read_masked
from mae_data.images.value_range import Planes, ValueRange

_VALUES = np.arange(256, dtype=np.int64)


@dataclass(frozen=True)
class PixelSums:
    """Sums over the pixels of one image, per channel, of values as stored; exact for integers.

    Attributes:
        counts: how many values count, per channel: those that are data.
    """

    width: int
    height: int
    counts: list[int]
    sums: list[float]
    squares: list[float]
    low: list[float]
    high: list[float]


def measure_image(
    file: File, channels: int, limits: ValueRange, bands: Bands | None = None, nodata: Nodata | None = None
) -> PixelSums:
    """Sum an image's pixel values and their squares; what stands for no data is left out."""
    if isinstance(file, bytes):
        return _of_scene(Scene(file, channels, limits, bands, nodata))
    if nodata is not None:
        pixels, valid = read_masked(file, channels, limits, nodata, bands=bands)
        return _of_pixels(pixels, limits, valid)
    image = read_image(file, channels, limits, bands=bands)
    return _of_pixels(image.pixels, limits) if isinstance(image, Planes) else _of_picture(image, channels)


def _of_picture(image: Image.Image, channels: int) -> PixelSums:
    histograms = np.array(image.histogram(), dtype=np.int64).reshape(channels, 256)
    ends = [np.flatnonzero(histogram)[[0, -1]].tolist() for histogram in histograms]
    sums, squares = (histograms @ _VALUES).tolist(), (histograms @ _VALUES**2).tolist()
    counts, low, high = [image.width * image.height] * channels, [e[0] for e in ends], [e[1] for e in ends]
    return PixelSums(image.width, image.height, counts, sums, squares, low, high)


def _of_scene(scene: Scene) -> PixelSums:
    parts = []
    for box in scene.parts():
        if scene.nodata is None:
            image = scene.read(box)
            pixels = image.pixels if isinstance(image, Planes) else np.atleast_3d(np.asarray(image))
            parts.append(_of_pixels(pixels, scene.limits))
        else:
            pixels, valid = scene.masked(box)
            parts.append(_of_pixels(pixels, scene.limits, valid))
    scene.close()
    sums, squares, counts = (
        [sum(numbers) for numbers in zip(*(getattr(part, name) for part in parts), strict=True)]
        for name in ("sums", "squares", "counts")
    )
    low, high = (
        [end(numbers) for numbers in zip(*(getattr(part, name) for part in parts), strict=True)]
        for name, end in (("low", min), ("high", max))
    )
    return PixelSums(scene.width, scene.height, counts, sums, squares, low, high)


def _of_pixels(pixels: npt.NDArray[Any], limits: ValueRange, valid: npt.NDArray[np.bool_] | None = None) -> PixelSums:
    height, width, channels = pixels.shape
    # int64 holds the squares of two thousand million 16-bit pixels.
    wide = pixels.reshape(-1, channels).astype(np.float64 if limits.is_float else np.int64)
    counts = [len(wide)] * channels
    low, high = wide.min(axis=0), wide.max(axis=0)
    if valid is not None:
        valid = valid.reshape(-1, channels)
        counts = valid.sum(axis=0).tolist()
        low = np.where(valid, wide, math.inf).min(axis=0)  # without any data, these bound nothing
        high = np.where(valid, wide, -math.inf).max(axis=0)
        wide = np.where(valid, wide, 0)
    sums, squares = wide.sum(axis=0).tolist(), (wide**2).sum(axis=0).tolist()
    kind = float if limits.is_float else int
    lowest, highest = ([kind(end) if math.isfinite(end) else end for end in ends.tolist()] for ends in (low, high))
    return PixelSums(width, height, counts, sums, squares, lowest, highest)


def mean_and_std(measured: Sequence[PixelSums], limits: ValueRange) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, the ends of the range as 0 and 1.

    Integers are added up exactly until the last division.

    Raises:
        DataError: a channel has no data.
    """
    add = math.fsum if limits.is_float else sum
    span = limits.span if limits.is_float else int(limits.span)
    means, deviations = [], []
    for channel in range(len(measured[0].sums)):
        count = sum(image.counts[channel] for image in measured)
        if not count:
            raise DataError(f"channel {channel} (from 0) has no data in any image; leave it out")
        total = add([image.sums[channel] for image in measured])
        squares = add([image.squares[channel] for image in measured])
        means.append(total / (span * count) - limits.low / span)
        variance = (count * squares - total**2) / count**2
        deviations.append(math.sqrt(max(0.0, variance)) / span)  # floats are rounded, even to less than nothing
    return means, deviations
