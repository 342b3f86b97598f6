"""Image transforms: random parameters are drawn by pure functions, apart from applying them.

A transform is called with an image - of PIL, a JPEG file yet to be decoded, or `Planes` - and a NumPy generator, and
returns its pixels [H, W, C]: uint8, of `Planes` the stored type. Resizing crops first and then resamples as Pillow
does, so pixels equal those of torchvision on PIL images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.formats import MAX_PIXELS
from mae_data.images.jpeg import JpegImage
from mae_data.images.mask import MaskPicture
from mae_data.images.scene import Scene
from mae_data.images.value_range import EIGHT_BITS, Planes, limits_of
from mae_data.transforms.crops import Box, Range, Size, covering_size, draw_resized_crop, draw_single_crop, resized_crop
from mae_data.transforms.rand_augment import RandAugment
from mae_data.transforms.random_erasing import RandomErasing

Picture = Image.Image | JpegImage | Planes | Scene | MaskPicture


class Transform(Protocol):
    """What a dataset needs of a transform."""

    def __call__(self, image: Picture, rng: np.random.Generator) -> npt.NDArray[Any]:
        """Turn an image into pixels [H, W, C]."""
        ...


def make_pretrain_transform(
    *,
    image_size: int | Size,
    scale: Range = (0.2, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    vflip: float = 0.0,
    rotate90: bool = False,
) -> "CropTransform":
    """Make the pre-training transform: random resized crop and horizontal flip (appendix A.1).

    Args:
        image_size: side of the square result, or (height, width), in pixels.
        scale: range of the crop's area as a share of the image's.
        ratio: range of the crop's width / height.
        hflip: probability of a horizontal flip.
        vflip: probability of a vertical flip.
        rotate90: turn by 0, 90, 180 or 270 degrees, each as likely: for images without an upper side.
    """
    scale, ratio = as_range("scale", scale), as_range("ratio", ratio)
    return CropTransform(as_size(image_size), scale, ratio, hflip, vflip, rotate90)


def make_finetune_transform(
    *,
    image_size: int | Size,
    mean: Sequence[float],
    std: Sequence[float],
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    vflip: float = 0.0,
    rotate90: bool = False,
    rand_augment: str | None = "rand-m9-mstd0.5-inc1",
    reprob: float = 0.25,
    recount: int = 1,
) -> "FinetuneTransform":
    """Make the fine-tuning transform: crop, flip, RandAugment, random erasing (Table 9).

    Args:
        image_size: side of the square result, or (height, width), in pixels.
        mean, std: statistics, per channel, that the model normalises with, in [0, 1]: RandAugment fills
            with the mean, erased pixels are normally distributed by both.
        scale: range of the crop's area as a share of the image's.
        ratio: range of the crop's width / height.
        hflip: probability of a horizontal flip.
        vflip: probability of a vertical flip.
        rotate90: turn by 0, 90, 180 or 270 degrees, each as likely: for images without an upper side.
        rand_augment: policy as timm writes it; None or "" for none.
        reprob: probability of random erasing.
        recount: largest number of erased boxes.
    """
    if len(mean) != len(std) or not mean:
        raise ValueError(f"mean={mean}, std={std}; give one number per channel to both")
    if rand_augment and len(mean) not in (1, 3):
        raise ValueError(f"mean={mean}: rand_augment is made for 8-bit images of 1 or 3 channels; give None for none")
    scale, ratio = as_range("scale", scale), as_range("ratio", ratio)
    crop = CropTransform(as_size(image_size), scale, ratio, hflip, vflip, rotate90)
    augment = RandAugment.parse(rand_augment) if rand_augment else None
    return FinetuneTransform(crop, augment, RandomErasing(reprob, recount), tuple(mean), tuple(std))


def make_probe_transform(
    *,
    image_size: int | Size,
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    vflip: float = 0.0,
    rotate90: bool = False,
) -> "CropTransform":
    """Make the linear-probing transform: one-draw random resized crop and horizontal flip (Table 10).

    Args:
        image_size: side of the square result, or (height, width), in pixels.
        scale: range of the crop's area as a share of the image's, before it is clamped to the image.
        ratio: range of the crop's width / height, before it is clamped to the image.
        hflip: probability of a horizontal flip.
        vflip: probability of a vertical flip.
        rotate90: turn by 0, 90, 180 or 270 degrees, each as likely: for images without an upper side.
    """
    scale, ratio = as_range("scale", scale), as_range("ratio", ratio)
    return CropTransform(as_size(image_size), scale, ratio, hflip, vflip, rotate90, draw_single_crop)


def make_eval_transform(*, image_size: int | Size, crop_pct: float | None = None) -> "EvalTransform":
    """Make the evaluation transform: resize the shorter side, then crop the centre.

    Args:
        image_size: side of the square result, or (height, width), in pixels.
        crop_pct: the image is resized to int(image_size / crop_pct) before the crop; by default 0.875
            up to 224 pixels and 1.0 above.

    Examples:
        >>> photo = Image.new("RGB", (640, 480))
        >>> make_eval_transform(image_size=224)(photo).shape
        (224, 224, 3)
    """
    size = as_size(image_size)
    if crop_pct is None:
        crop_pct = 0.875 if max(size) <= 224 else 1.0
    if not 0 < crop_pct <= 1:
        raise ValueError(f"crop_pct={crop_pct}; give a share above 0 and up to 1")
    return EvalTransform(size, crop_pct)


@dataclass(frozen=True)
class CropTransform:
    """Random resized crop, flips and quarter turns; see `make_pretrain_transform`, `make_probe_transform`."""

    size: Size
    scale: Range
    ratio: Range
    hflip: float
    vflip: float = 0.0
    rotate90: bool = False
    draw_crop: Callable[[Size, Range, Range, np.random.Generator], Box] = draw_resized_crop

    def __post_init__(self) -> None:
        for name, flip in (("hflip", self.hflip), ("vflip", self.vflip)):
            if not 0 <= flip <= 1:
                raise ValueError(f"{name}={flip}; give a probability between 0 and 1")

    def __call__(self, image: Picture, rng: np.random.Generator) -> npt.NDArray[Any]:
        box = self.draw_crop((image.height, image.width), self.scale, self.ratio, rng)
        flip = rng.random() < self.hflip
        if not self.vflip and not self.rotate90:
            return resized_crop(image, box, self.size, flip=flip)
        # Drawn only where they are wanted: without them, nothing else is drawn otherwise than before.
        upside_down = bool(self.vflip) and rng.random() < self.vflip
        turns = int(rng.random() * 4) if self.rotate90 else 0
        size = self.size[::-1] if turns % 2 else self.size
        pixels = resized_crop(image, box, size, flip=flip)
        return np.ascontiguousarray(np.rot90(pixels[::-1] if upside_down else pixels, turns))


@dataclass(frozen=True)
class FinetuneTransform:
    """Crop, flip, RandAugment and random erasing; see `make_finetune_transform`."""

    crop: CropTransform
    rand_augment: RandAugment | None
    random_erasing: RandomErasing
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Picture, rng: np.random.Generator) -> npt.NDArray[Any]:
        channels = len(image.getbands())
        if channels != len(self.mean):
            raise ValueError(f"the image has {channels} channels, mean and std have {len(self.mean)}; give one each")
        array = self.crop(image, rng)
        if self.rand_augment is not None:
            if limits_of(image) != EIGHT_BITS or channels not in (1, 3):
                raise ValueError("RandAugment is made for 8-bit images of 1 or 3 channels; leave it out")
            array = to_array(self.rand_augment(to_image(array), self.mean, rng))
        self.random_erasing(array, self.mean, self.std, rng, limits_of(image))
        return array


@dataclass(frozen=True)
class EvalTransform:
    """Resize and centre crop; see `make_eval_transform`. It draws nothing, so it needs no generator."""

    size: Size
    crop_pct: float

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> npt.NDArray[Any]:
        target = (int(self.size[0] / self.crop_pct), int(self.size[1] / self.crop_pct))
        height, width = covering_size((image.height, image.width), target)
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{image.width}x{image.height} pixels are too elongated: resized for evaluation they "
                f"would be {width}x{height}; crop the image, or take it off the list"
            )
        window = (round((height - self.size[0]) / 2), round((width - self.size[1]) / 2), *self.size)
        return resized_crop(image, (0, 0, image.height, image.width), (height, width), window)


def to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Copy an image of mode RGB or L to a contiguous uint8 array [H, W, C]."""
    array = np.array(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def to_image(array: npt.NDArray[np.uint8]) -> Image.Image:
    """Make an image of mode RGB or L of uint8 [H, W, C]."""
    return Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0])


def as_size(image_size: int | Size) -> Size:
    """Return (height, width)."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < 1 or width < 1:
        raise ValueError(f"image_size={image_size}; give a positive number of pixels, or (height, width)")
    return height, width


def as_range(name: str, limits: Range) -> Range:
    """Return (low, high), in this order and above 0."""
    low, high = limits
    if not 0 < low <= high:
        raise ValueError(f"{name}={limits}; give (low, high) with 0 < low <= high")
    return low, high
