"""Crops at native resolution, where a pixel of the image is a pixel of the crop, and, for segmentation, near it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.windows import fitting_size
from mae_data.transforms.crops import Box, Range, resized_crop
from mae_data.transforms.pipelines import Picture, Size, as_range, as_size


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


@dataclass(frozen=True)
class ScaleCrop:
    """A crop of an image that is enlarged at random, flipped and turned; see `make_scale_transform`."""

    size: Size
    scale: Range = (0.5, 2.0)
    hflip: float = 0.5
    vflip: float = 0.0
    rotate90: bool = False

    def __call__(self, image: Picture, rng: np.random.Generator) -> npt.NDArray[Any]:
        scale, down, across, mirror, upside_down, turn = (rng.random() for _ in range(6))
        turns = int(turn * 4) if self.rotate90 else 0
        size = self.size[::-1] if turns % 2 else self.size
        box = _box((image.height, image.width), size, self.scale[0] + (self.scale[1] - self.scale[0]) * scale)
        top, left = (int(share * (room + 1)) for share, room in zip((down, across), box[:2], strict=True))
        pixels = resized_crop(image, (top, left, *box[2:]), size, flip=mirror < self.hflip)
        return np.ascontiguousarray(np.rot90(pixels[::-1] if upside_down < self.vflip else pixels, turns))


def make_scale_transform(
    *, image_size: int | Size, scale: Range = (0.5, 2.0), hflip: float = 0.5, vflip: float = 0.0, rotate90: bool = False
) -> ScaleCrop:
    """Make the training transform of segmentation: scale jitter, crop, flips and quarter turns; colours stay.

    At scale 1 a crop shows a window as evaluation does: pixel by pixel, or, of a smaller image, the largest part of
    the crop's shape. A crop never leaves its image: where it would, the scale is what fits.

    Args:
        image_size: side of the square result, or (height, width), in pixels.
        scale: range of how much larger than in evaluation things are shown.
        hflip, vflip: probabilities of a horizontal and of a vertical flip.
        rotate90: turn by 0, 90, 180 or 270 degrees, each as likely.
    """
    return ScaleCrop(as_size(image_size), as_range("scale", scale), hflip, vflip, rotate90)


def _box(image: Size, size: Size, scale: float) -> Box:
    """Return by how many (rows, columns) an image is larger than what a crop shows of it, and (height, width) of that.

    Args:
        image, size: (height, width) of the image and of the crop.
    """
    window = fitting_size(size, image)
    scale = max(scale, window[0] / image[0], window[1] / image[1])
    rows, columns = (min(length, max(1, round(side / scale))) for side, length in zip(window, image, strict=True))
    return image[0] - rows, image[1] - columns, rows, columns
