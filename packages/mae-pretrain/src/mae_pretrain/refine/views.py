"""Several views of each image, as batches, and what makes them differ beside the crop."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_data.loading.sampler import KeyBatch, TrainBatchSampler
from mae_data.transforms.pipelines import CropTransform, Picture


class ViewSampler:
    """The batches of another sampler, each image asked for several times in a row: it is decoded once.

    Each view is the crop of an epoch of its own, so views differ within an epoch and between epochs.

    Args:
        images: draws the images.
        views: of each, V.
    """

    def __init__(self, images: TrainBatchSampler, views: int) -> None:
        self.images, self.views = images, views

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[KeyBatch]:
        for keys in self.images:
            yield [(epoch * self.views + view, index) for epoch, index in keys for view in range(self.views)]


@dataclass(frozen=True)
class BrightnessJitter:
    """A crop whose brightness is bent and dimmed at random, all bands alike: x ** gamma * gain, of x from 0 to 1.

    Without it, how bright a crop is tells which image it is of.

    Args:
        crop: what is done before.
        strength: gamma is from exp(-strength) to exp(strength), gain from 1 - strength / 2 to 1.
        low, high: the values of black and white.
    """

    crop: CropTransform
    strength: float
    low: float
    high: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.crop.size

    def __call__(self, image: Picture, rng: np.random.Generator) -> NDArray[Any]:
        """Turn an image into pixels [H, W, C] of the stored type."""
        pixels = self.crop(image, rng)
        bend, dim = rng.random(2)
        span = self.high - self.low
        share = np.clip((pixels.astype(np.float32) - self.low) / span, 0, 1)
        changed = share ** np.exp(self.strength * (2 * bend - 1)) * (1 - self.strength / 2 * dim) * span + self.low
        return (np.rint(changed) if pixels.dtype.kind == "u" else changed).astype(pixels.dtype)
