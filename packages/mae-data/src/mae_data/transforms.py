"""Image transforms: random parameters are drawn by pure functions, apart from applying them.

A transform is called with a PIL image and a NumPy generator and returns uint8 [H, W, C]. Resizing
crops first and then resamples with Pillow, so pixels equal those of torchvision on PIL images.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.image_file import MAX_PIXELS

Size = tuple[int, int]  # (height, width)
Box = tuple[int, int, int, int]  # (top, left, height, width)
Range = tuple[float, float]

CROP_TRIES = 10


class Transform(Protocol):
    """What a dataset needs of a transform."""

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Turn an image into uint8 [H, W, C]."""
        ...


def make_pretrain_transform(
    *,
    image_size: int | Size,
    scale: Range = (0.2, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    hflip: float = 0.5,
) -> "PretrainTransform":
    """Make the pre-training transform: random resized crop and horizontal flip (appendix A.1).

    Args:
        image_size: Side of the square result, or (height, width), in pixels.
        scale: Range of the crop's area as a share of the image's.
        ratio: Range of the crop's width / height.
        hflip: Probability of a horizontal flip.
    """
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"scale={scale}; give (low, high) with 0 < low <= high")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio={ratio}; give (low, high) with 0 < low <= high")
    if not 0 <= hflip <= 1:
        raise ValueError(f"hflip={hflip}; give a probability between 0 and 1")
    return PretrainTransform(_as_size(image_size), (scale[0], scale[1]), (ratio[0], ratio[1]), hflip)


def make_eval_transform(*, image_size: int | Size, crop_pct: float | None = None) -> "EvalTransform":
    """Make the evaluation transform: resize the shorter side, then crop the centre.

    Args:
        image_size: Side of the square result, or (height, width), in pixels.
        crop_pct: The image is resized to int(image_size / crop_pct) before the crop; by default 0.875
            up to 224 pixels and 1.0 above.
    """
    size = _as_size(image_size)
    if crop_pct is None:
        crop_pct = 0.875 if max(size) <= 224 else 1.0
    if not 0 < crop_pct <= 1:
        raise ValueError(f"crop_pct={crop_pct}; give a share above 0 and up to 1")
    return EvalTransform(size, crop_pct)


@dataclass(frozen=True)
class PretrainTransform:
    """Random resized crop and horizontal flip; see `make_pretrain_transform`."""

    size: Size
    scale: Range
    ratio: Range
    hflip: float

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        box = draw_resized_crop((image.height, image.width), self.scale, self.ratio, rng)
        flip = rng.random() < self.hflip
        image = resized_crop(image, box, self.size)
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return to_array(image)


@dataclass(frozen=True)
class EvalTransform:
    """Resize and centre crop; see `make_eval_transform`."""

    size: Size
    crop_pct: float

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        target = (int(self.size[0] / self.crop_pct), int(self.size[1] / self.crop_pct))
        height, width = covering_size((image.height, image.width), target)
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{image.width}x{image.height} pixels are too elongated: resized for evaluation they "
                f"would be {width}x{height}; crop the image, or take it off the list"
            )
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        top = round((height - self.size[0]) / 2)
        left = round((width - self.size[1]) / 2)
        return to_array(image.crop((left, top, left + self.size[1], top + self.size[0])))


def draw_resized_crop(size: Size, scale: Range, ratio: Range, rng: np.random.Generator) -> Box:
    """Draw the box of a random resized crop, as torchvision's RandomResizedCrop does.

    The area is uniform in `scale`, the ratio log-uniform in `ratio`. After ten boxes that do not fit,
    the largest centred box of a permitted ratio is taken. Only `rng.random` is used: its values are the
    same in every NumPy release, which is not promised for the other distributions.

    Args:
        size: (height, width) of the image.
        scale: Range of the area as a share of the image's.
        ratio: Range of width / height.
        rng: Source of randomness.

    Returns:
        (top, left, height, width) of the box, inside the image.
    """
    image_height, image_width = size
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(CROP_TRIES):
        area = image_height * image_width * (scale[0] + (scale[1] - scale[0]) * rng.random())
        aspect = math.exp(log_low + (log_high - log_low) * rng.random())
        width = round(math.sqrt(area * aspect))
        height = round(math.sqrt(area / aspect))
        if 0 < width <= image_width and 0 < height <= image_height:
            top = int(rng.random() * (image_height - height + 1))
            left = int(rng.random() * (image_width - width + 1))
            return top, left, height, width
    return centred_box(size, ratio)


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


def resized_crop(image: Image.Image, box: Box, size: Size) -> Image.Image:
    """Crop `box` and resize it to `size` (bicubic). Cropping first keeps pixels outside the box out."""
    top, left, height, width = box
    crop = image.crop((left, top, left + width, top + height))
    return crop.resize((size[1], size[0]), Image.Resampling.BICUBIC)


def to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Copy an image of mode RGB or L to a contiguous uint8 array [H, W, C]."""
    array = np.array(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def _as_size(image_size: int | Size) -> Size:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < 1 or width < 1:
        raise ValueError(f"image_size={image_size}; give a positive number of pixels, or (height, width)")
    return height, width
