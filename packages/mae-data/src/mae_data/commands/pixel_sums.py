"""Sums over the pixels of an image, from which mean and deviation of a whole data set follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mae_data.images.multiband import Planes
from mae_data.images.stored import read_image
from mae_data.images.value_range import ValueRange

_VALUES = np.arange(256, dtype=np.int64)


@dataclass(frozen=True)
class PixelSums:
    """Sums over the pixels of one image, per channel, of values as stored; exact for integers."""

    width: int
    height: int
    sums: list[float]
    squares: list[float]
    low: list[float]
    high: list[float]


def measure_image(file: bytes, channels: int, limits: ValueRange) -> PixelSums:
    """Sum an image's pixel values and their squares."""
    image = read_image(file, channels, limits)
    return _of_planes(image) if isinstance(image, Planes) else _of_picture(image, channels)


def _of_picture(image: Image.Image, channels: int) -> PixelSums:
    histograms = np.array(image.histogram(), dtype=np.int64).reshape(channels, 256)
    ends = [np.flatnonzero(histogram)[[0, -1]].tolist() for histogram in histograms]
    sums, squares = (histograms @ _VALUES).tolist(), (histograms @ _VALUES**2).tolist()
    return PixelSums(image.width, image.height, sums, squares, [e[0] for e in ends], [e[1] for e in ends])


def _of_planes(image: Planes) -> PixelSums:
    pixels = image.pixels.reshape(-1, image.pixels.shape[2])
    low, high = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
    # int64 holds the squares of two thousand million 16-bit pixels.
    wide = pixels.astype(np.float64 if image.limits.is_float else np.int64)
    return PixelSums(image.width, image.height, wide.sum(axis=0).tolist(), (wide**2).sum(axis=0).tolist(), low, high)


def mean_and_std(measured: Sequence[PixelSums], limits: ValueRange) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, the ends of the range as 0 and 1.

    Integers are added up exactly until the last division.
    """
    count = sum(image.width * image.height for image in measured)
    add = math.fsum if limits.is_float else sum
    span = limits.span if limits.is_float else int(limits.span)
    means, deviations = [], []
    for channel in range(len(measured[0].sums)):
        total = add([image.sums[channel] for image in measured])
        squares = add([image.squares[channel] for image in measured])
        means.append(total / (span * count) - limits.low / span)
        variance = (count * squares - total**2) / count**2
        deviations.append(math.sqrt(max(0.0, variance)) / span)  # floats are rounded, even to less than nothing
    return means, deviations
