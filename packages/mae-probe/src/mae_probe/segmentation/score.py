"""Fit a head on the patches of training images, and score it on the pixels of others."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.evaluation.segmentation import SegmentationScores
from mae_core.models import VisionTransformer
from mae_core.stage.config.node import Config
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.images.mask import MaskPicture
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture, Size
from mae_probe.evaluate import eval_batches
from mae_probe.segmentation.heads import Grid, PatchHead

Patches = Callable[[Tensor], Tensor]

_ROWS = 64  # of an image, scored at a time


def patch_tokens(model: VisionTransformer, block: int = -1) -> Patches:
    """Make the function from images to their patch tokens behind a block and the last norm, float32 [N, L, D].

    A classifier with global_pool has no norm of tokens; that of their mean takes its place.
    """

    @paddle.no_grad()
    def tokens(images: Tensor) -> Tensor:
        x = model.forward_intermediates(images, [block])[0][:, 1:]
        return (model.fc_norm(x) if model.global_pool else x).astype("float32")

    return tokens


def patch_pixels(model: VisionTransformer) -> Patches:
    """Make the function from images to their patches as the model sees them, float32 [N, L, p*p*C]."""

    @paddle.no_grad()
    def pixels(images: Tensor) -> Tensor:
        return model.normalize(model.patchify(images)).astype("float32")

    return pixels


def pixel_classes(scores: NDArray[np.float32], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.integer]:
    """Bring scores [L, K] of the patches of a grid to (height, width) bilinearly; return the class of the largest.

    Pixels are squares (`align_corners=False` of other libraries). A few rows are made at a time: the scores of all
    classes of a large image may be too many to hold.

    Returns:
        [H, W], uint8 or, for more than 256 classes, uint16.
    """
    rows, columns = (bilinear(patches, pixels) for patches, pixels in zip(grid, size, strict=True))
    wide = np.einsum("wc,rck->rwk", columns, scores.reshape(*grid, -1))  # [rows, W, K]
    dtype = np.uint8 if scores.shape[1] <= 256 else np.uint16
    return np.concatenate([part.argmax(axis=2).astype(dtype) for part in _parts(rows, wide)])


def _parts(rows: NDArray[np.float32], wide: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(rows), _ROWS):
        yield np.tensordot(rows[first : first + _ROWS], wide, 1)  # [h, W, K]


def bilinear(inputs: int, outputs: int) -> NDArray[np.float32]:
    """Return the weights [outputs, inputs] by which a line of `inputs` values becomes one of `outputs`."""
    places = np.clip((np.arange(outputs) + 0.5) * inputs / outputs - 0.5, 0, inputs - 1)
    weights = 1 - np.abs(places[:, None] - np.arange(inputs))
    return np.maximum(weights, 0).astype(np.float32)


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
