"""Crops at native resolution: a pixel of the image is a pixel of the crop, as scenes want it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture, Size, as_size


@dataclass(frozen=True)
class NativeCrop:
    """A crop at a uniform place, flipped and turned; see `make_native_transform`."""

    size: Size
    hflip: float = 0.5
    vflip: float = 0.0
    rotate90: bool = False

    def __call__(self, image: Picture, rng: np.random.Generator) -> npt.NDArray[Any]:
        down, across, mirror, upside_down, turn = (rng.random() for _ in range(5))
        turns = int(turn * 4) if self.rotate90 else 0
        size = self.size[::-1] if turns % 2 else self.size
        rows, columns = _room(image, size)
        box = int(down * (rows + 1)), int(across * (columns + 1)), *size
        pixels = resized_crop(image, box, size, flip=mirror < self.hflip)
        return np.ascontiguousarray(np.rot90(pixels[::-1] if upside_down < self.vflip else pixels, turns))


@dataclass(frozen=True)
class NativeCentre:
    """The centre of an image, at native resolution: what evaluation shows of it. It draws nothing."""

    size: Size

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> npt.NDArray[Any]:
        rows, columns = _room(image, self.size)
        return resized_crop(image, (rows // 2, columns // 2, *self.size), self.size)


def make_native_transform(
    *, image_size: int | Size, hflip: float = 0.5, vflip: float = 0.0, rotate90: bool = False
) -> NativeCrop:
    """Make the pre-training transform that neither enlarges nor shrinks: crop, flips and quarter turns.

    Args:
        image_size: side of the square result, or (height, width), in pixels; images are at least as large.
        hflip, vflip: probabilities of a horizontal and of a vertical flip.
        rotate90: turn by 0, 90, 180 or 270 degrees, each as likely.
    """
    return NativeCrop(as_size(image_size), hflip, vflip, rotate90)


def _room(image: Picture, size: Size) -> Size:
    """Return by how many (rows, columns) an image is larger than a crop."""
    rows, columns = image.height - size[0], image.width - size[1]
    if min(rows, columns) < 0:
        raise DataError(
            f"{image.width}x{image.height} pixels are less than a native crop of {size[1]}x{size[0]}: leave the image"
            " out, or resize crops (CROP resized)"
        )
    return rows, columns
