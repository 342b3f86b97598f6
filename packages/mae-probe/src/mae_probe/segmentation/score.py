"""Fit a head on the patches of training images, and score it on the pixels of others."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.segmentation import SegmentationScores
from mae_core.stage.config.node import Config
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.images.mask import MaskPicture
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture, Size
from mae_probe.evaluate import eval_batches
from mae_probe.segmentation.heads import Grid, PatchHead
from mae_probe.segmentation.patches import Patches
from mae_probe.segmentation.upsampling import pixel_classes


@dataclass(frozen=True)
class WholeImage:
    """A transform that resizes all of an image, in whatever shape, to one size: its mask keeps each thing it shows.

    Args:
        size: height and width in pixels.
    """

    size: Size

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> NDArray[Any]:
        return resized_crop(image, (0, 0, image.height, image.width), self.size)


@dataclass(frozen=True)
class PatchScoring:
    """Two sets, whose images are resized whole to the model's size, and how they are encoded.

    Args:
        config: of the loaders.
        train, val: with `WholeImage`.
        grid: rows and columns of patches.
        precision: of the encoder.
    """

    config: Config
    train: MaskDataset
    val: MaskDataset
    grid: Grid
    precision: Precision

    def score(
        self, head: PatchHead, patches: Patches, shown: Collection[int] = ()
    ) -> tuple[SegmentationScores, dict[int, NDArray[np.integer]]]:
        """Fit a head and score it on all pixels of the validation masks at their own size.

        Args:
            head: it is fitted.
            patches: from images to their patches [N, L, D].
            shown: validation images whose predictions are kept.

        Returns:
            the counts, and [H, W] of each of `shown`.
        """
        head.fit(lambda: ((x, masks) for x, masks, _ in self._encode(self.train, patches)))
        scores, kept = SegmentationScores(self.val.classes, self.val.ignore), {}
        for x, _, indices in self._encode(self.val, patches):
            for of_patches, index in zip(head.predict(x), indices, strict=True):
                truth = self.val.mask(int(index))
                found = pixel_classes(of_patches, self.grid, (truth.shape[0], truth.shape[1]))
                scores.add(found, truth)
                if index in shown:
                    kept[int(index)] = found
        return scores, kept

    def _encode(
        self, dataset: MaskDataset, patches: Patches
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.integer], NDArray[np.int64]]]:
        """Yield patches [N, L, D], masks [N, H, W] at the model's size and indices."""
        weights = RoundedWeights()
        for images, masks, indices in eval_batches(self.config, dataset):
            with self.precision.autocast(weights):
                x = patches(images)
            yield x.numpy(), masks.numpy(), indices.numpy()


def shrunk(mask: NDArray[np.integer], size: Size) -> NDArray[np.integer]:
    """Resize a mask [H, W] by the nearest pixel."""
    return MaskPicture(mask).resized((0, 0, *mask.shape), size)[:, :, 0]
