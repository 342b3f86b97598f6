"""Numbers that describe a data set: classes, sizes, and the mean and deviation of its pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from mae_data.errors import DataError, ImageError
from mae_data.image_file import open_image
from mae_data.parallel import map_images
from mae_data.sources.source import NO_LABEL, Source

VALUES = np.arange(256, dtype=np.int64)


@dataclass(frozen=True)
class PixelSums:
    """Exact sums over the pixels of one image, per channel."""

    width: int
    height: int
    sums: list[int]
    squares: list[int]


def describe_list(images: Source, *, channels: int = 3, workers: int = 1) -> dict[str, Any]:
    """Describe the images of a list, or of another source.

    Args:
        images: The source.
        channels: 3 for RGB, 1 for greyscale.
        workers: Number of processes.

    Returns:
        Plain values: counts, ranges as {min, median, max}, and `mean` and `std` per channel over all
        pixels at original size, scaled to [0, 1] (population deviation).

    Raises:
        DataError: An image cannot be read; the message names its line.
    """
    measured = []
    for index, result in enumerate(map_images(_MEASURE[channels], images, workers)):
        if isinstance(result, DataError):
            reason = result.reason if isinstance(result, ImageError) else str(result)
            raise DataError(f"{images.describe(index)}: {reason}; `mae-data verify` finds all such images")
        measured.append(result)
    labels = images.labels[images.labels != NO_LABEL]
    per_class = np.bincount(labels)
    mean, std = mean_and_std(measured)
    return {
        "list": images.name,
        "images": len(images),
        "duplicates": images.duplicates,
        "unlabelled": len(images) - len(labels),
        "classes": int(np.count_nonzero(per_class)),
        "images_per_class": _range(per_class[per_class > 0].tolist()) if len(labels) else None,
        "width": _range([image.width for image in measured]),
        "height": _range([image.height for image in measured]),
        "mean": mean,
        "std": std,
    }


def mean_and_std(measured: Sequence[PixelSums]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel in [0, 1]; exact until the last division."""
    count = sum(image.width * image.height for image in measured)
    means, deviations = [], []
    for channel in range(len(measured[0].sums)):
        total = sum(image.sums[channel] for image in measured)
        squares = sum(image.squares[channel] for image in measured)
        means.append(total / (255 * count))
        deviations.append(math.sqrt((count * squares - total**2) / count**2) / 255)
    return means, deviations


def measure_image(file: BinaryIO, channels: int) -> PixelSums:
    """Sum an image's pixel values and their squares."""
    image = open_image(file, channels)
    histograms = np.array(image.histogram(), dtype=np.int64).reshape(channels, 256)
    sums = (histograms @ VALUES).tolist()
    squares = (histograms @ VALUES**2).tolist()
    return PixelSums(image.width, image.height, sums, squares)


def _measure_rgb(file: BinaryIO) -> PixelSums:
    return measure_image(file, 3)


def _measure_grey(file: BinaryIO) -> PixelSums:
    return measure_image(file, 1)


_MEASURE = {1: _measure_grey, 3: _measure_rgb}


def _range(values: list[int]) -> dict[str, float]:
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}
