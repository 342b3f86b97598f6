"""Random erasing (arXiv 1708.04896) as timm does it in mode "pixel", on images as stored.

timm erases after normalisation, with noise of N(0, 1) per value. Here the image is still uint8 - the
model normalises, and batches travel in a quarter of the bytes - so a value n of the noise becomes the
pixel 255 (n std + mean), rounded and clipped to [0, 255]. The model's normalisation turns that back into
n, up to the rounding (a step of 1 / (255 std), 0.017 for ImageNet) and except for clipped values: a share
of 3.3 % with ImageNet's statistics, whose tails end at the colours black and white, which normal images
have too; the noise that the model sees has the deviation 0.97 then. With mean and std 0.5, as greyscale
images may be normalised, 32 % are clipped and the deviation is 0.72. Pixels of another value range are erased alike:
low + span (n std + mean), clipped to the range, and rounded where they are integers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.images.value_range import EIGHT_BITS, ValueRange
from mae_data.rng import standard_normal
from mae_data.transforms.crops import Box, Size

ERASE_TRIES = 10
AREA = (0.02, 1 / 3)  # share of the image
LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))  # of height / width


@dataclass(frozen=True)
class RandomErasing:
    """Erase boxes of an image with noise.

    Args:
        prob: probability that an image is erased at all.
        max_count: largest number of boxes; the number is uniform from 1 on, and shares the area.
    """

    prob: float = 0.25
    max_count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ValueError(f"reprob={self.prob}; give a probability between 0 and 1")
        if self.max_count < 1:
            raise ValueError(f"recount={self.max_count}; give at least 1 box, or reprob=0 for none")

    def __call__(
        self,
        image: npt.NDArray[Any],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        rng: np.random.Generator,
        limits: ValueRange = EIGHT_BITS,
    ) -> None:
        """Erase in place.

        Args:
            image: [H, W, C] of the range's type.
            mean, std: statistics per channel, in [0, 1], that the model normalises with.
            rng: source of randomness.
            limits: the value range of the pixels.
        """
        for top, left, height, width in self.draw_boxes(image.shape[:2], rng):
            noise = draw_noise((height, width), mean, std, rng, limits)
            image[top : top + height, left : left + width] = noise

    def draw_boxes(self, size: Size, rng: np.random.Generator) -> list[Box]:
        """Draw the boxes (top, left, height, width) to erase in an image of `size` (height, width)."""
        if rng.random() >= self.prob:
            return []
        count = 1 + int(rng.random() * self.max_count)
        boxes = (_draw_box(size, count, rng) for _ in range(count))
        return [box for box in boxes if box is not None]


def _draw_box(size: Size, count: int, rng: np.random.Generator) -> Box | None:
    """Draw one of `count` boxes, or None when ten in a row were as long as the image."""
    for _ in range(ERASE_TRIES):
        area = size[0] * size[1] / count * (AREA[0] + (AREA[1] - AREA[0]) * rng.random())
        aspect = math.exp(LOG_ASPECT[0] + (LOG_ASPECT[1] - LOG_ASPECT[0]) * rng.random())
        height = round(math.sqrt(area * aspect))
        width = round(math.sqrt(area / aspect))
        if height < size[0] and width < size[1]:
            top = int(rng.random() * (size[0] - height + 1))
            left = int(rng.random() * (size[1] - width + 1))
            return top, left, height, width
    return None


def draw_noise(
    size: Size,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    rng: np.random.Generator,
    limits: ValueRange = EIGHT_BITS,
) -> npt.NDArray[Any]:
    """Draw pixels [H, W, C] that the model's normalisation turns into N(0, 1), clipped to the range."""
    u, v = rng.random((2, *size, len(mean)))
    pixels = limits.low + limits.span * (standard_normal(u, v) * std + mean)
    return (pixels if limits.is_float else np.rint(pixels)).clip(limits.low, limits.high).astype(limits.dtype)
