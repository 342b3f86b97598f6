"""Crop boxes of random resized crops, drawn apart from cutting them out."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.images.jpeg import JpegImage
from mae_data.images.mask import MaskPicture
from mae_data.images.native_code import Box, Size, resized
from mae_data.images.scene import Scene
from mae_data.images.value_range import Planes

Range = tuple[float, float]

CROP_TRIES = 10


def draw_resized_crop(size: Size, scale: Range, ratio: Range, rng: np.random.Generator) -> Box:
    """Draw the box of a random resized crop, as torchvision's RandomResizedCrop does.

    The area is uniform in `scale`, the ratio log-uniform in `ratio`. After ten boxes that do not fit,
    the largest centred box of a permitted ratio is taken. Only `rng.random` is used: its values are the
    same in every NumPy release, which is not promised for the other distributions.

    Args:
        size: (height, width) of the image.
        scale: range of the area as a share of the image's.
        ratio: range of width / height.
        rng: source of randomness.

    Returns:
        (top, left, height, width) of the box, inside the image.
    """
    for _ in range(CROP_TRIES):
        height, width = _draw_sides(size, scale, ratio, rng)
        if 0 < width <= size[1] and 0 < height <= size[0]:
            return _place((height, width), size, rng)
    return centred_box(size, ratio)


def draw_single_crop(size: Size, scale: Range, ratio: Range, rng: np.random.Generator) -> Box:
    """Draw the box of a random resized crop in one try, clamped to the image, as BYOL does.

    Unlike `draw_resized_crop` it never redraws: a side that is too long is cut to the image's, which
    leaves the area and the ratio outside their ranges then. Linear probing uses it (appendix A.1).

    Args:
        size: (height, width) of the image.
        scale: range of the area as a share of the image's, before clamping.
        ratio: range of width / height, before clamping.
        rng: source of randomness.

    Returns:
        (top, left, height, width) of the box, inside the image.
    """
    height, width = _draw_sides(size, scale, ratio, rng)
    return _place((max(1, min(height, size[0])), max(1, min(width, size[1]))), size, rng)


def _draw_sides(size: Size, scale: Range, ratio: Range, rng: np.random.Generator) -> Size:
    """Draw (height, width): the area uniform in `scale`, the ratio log-uniform in `ratio`."""
    area = size[0] * size[1] * (scale[0] + (scale[1] - scale[0]) * rng.random())
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    aspect = math.exp(log_low + (log_high - log_low) * rng.random())
    return round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))


def _place(box_size: Size, size: Size, rng: np.random.Generator) -> Box:
    """Draw a uniform place for a box that fits into the image."""
    height, width = box_size
    top = int(rng.random() * (size[0] - height + 1))
    left = int(rng.random() * (size[1] - width + 1))
    return top, left, height, width


def centred_box(size: Size, ratio: Range) -> Box:
    """Return the largest centred box whose width / height is within `ratio`."""
    image_height, image_width = size
    height, width = size
    if image_width / image_height < ratio[0]:
        height = min(image_height, max(1, round(image_width / ratio[0])))
    elif image_width / image_height > ratio[1]:
        width = min(image_width, max(1, round(image_height * ratio[1])))
    return (image_height - height) // 2, (image_width - width) // 2, height, width


def covering_size(size: Size, target: Size) -> Size:
    """Return `size` scaled, at the same shape, to just cover `target`; for a square, by its shorter side."""
    height, width = size
    if width * target[0] <= height * target[1]:
        return height * target[1] // width, target[1]
    return target[0], width * target[0] // height


def resized_crop(
    image: "Image.Image | JpegImage | Planes | Scene | MaskPicture",
    box: Box,
    size: Size,
    window: Box | None = None,
    flip: bool = False,
) -> npt.NDArray[Any]:
    """Crop `box` and resize it to `size`: bicubic, masks by the nearest pixel.

    See `mae_data.images.native_code.resized`.
    """
    if isinstance(image, Image.Image):
        return resized(image, box, size, window, flip)
    return image.resized(box, size, window, flip)
