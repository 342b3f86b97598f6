"""A dataset of images with a mask each: the class of each pixel, cut and turned as the image is."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, ImageError, StoreError
from mae_data.images.jpeg import JpegImage
from mae_data.images.mask import MaskPicture, read_mask
from mae_data.loading.batch import TargetType
from mae_data.loading.dataset import ListDataset
from mae_data.rng import sample_rng
from mae_data.sources.mask_pairs import MaskPairs, open_pairs
from mae_data.sources.source import Fingerprint, Source
from mae_data.transforms.pipelines import Picture, Transform

Classes = npt.NDArray[np.integer]


class MaskDataset(ListDataset):
    """The images of a list or folder and their masks, decoded and transformed; see `open_pairs`.

    `dataset[key]`, with a key as `ListDataset` takes it, gives (image [H, W, C], mask [H, W], index). What stands for
    an image that is left out has a mask of `ignore` alone.

    Args:
        root, list_file: see `open_pairs`.
        transform: called with the image and, with the same random numbers, with its mask; it says its `size`.
        classes: K; masks hold 0 to K - 1, and `ignore`.
        ignore: value of pixels that count as no class.
        options: those of `ListDataset`; masks have no labels beside them.

    Attributes:
        pairs: images and masks.
        target_type: of the masks that the loader gives.

    Raises:
        DataError: the list is faulty; on access, an image or mask is (the message names its line and path).
    """

    def __init__(
        self, root: Any, list_file: Any, transform: Transform, *, classes: int, ignore: int = 255, **options: Any
    ) -> None:
        self.pairs: MaskPairs
        super().__init__(root, list_file, transform, **options | {"labels": "optional", "num_classes": None})
        self.classes, self.ignore = classes, ignore
        small = max(classes - 1, ignore) <= np.iinfo(np.uint8).max
        size: Any = getattr(transform, "size", ())
        self.target_type = TargetType(tuple(size), "uint8" if small else "int32")

    def mask(self, index: int, image: Picture | None = None) -> Classes:
        """Read the whole mask of an image by its place in the list, [H, W] of uint8 or uint16.

        Args:
            image: the opened image, whose size the mask must have; None: not compared.

        Raises:
            DataError: it cannot be read, is of another size, or holds values that are neither a class nor `ignore`.
        """
        place = self.pairs.masks.describe(index)
        try:
            mask = read_mask(io.BytesIO(self.pairs.masks.read(index)))
        except ImageError as error:
            raise DataError(f"{place}: {error.reason}") from error
        if image is not None and mask.shape != (image.height, image.width):
            rows, columns = mask.shape
            raise DataError(
                f"{place}: the mask has {columns}x{rows} pixels, its image {self.pairs.images.path(index)}"
                f" {image.width}x{image.height}; they must be equal"
            )
        strange = mask[(mask >= self.classes) & (mask != self.ignore)]
        if strange.size:
            raise DataError(
                f"{place}: the mask holds {int(strange.min())}, in {strange.size} pixels; classes are 0 to"
                f" {self.classes - 1}, and {self.ignore} is ignored"
            )
        return mask

    def whole(self, index: int) -> tuple[Picture, Classes] | None:
        """Open an image, decoded but for scenes, and its whole mask [H, W], by their place in the list.

        Returns:
            None where they cannot be used, and are counted and left out.

        Raises:
            DataError: they cannot be used, and `on_error` is "raise".
        """
        try:
            image = self.open(index)
            if isinstance(image, JpegImage):
                image = image.decoded()
            return image, self.mask(index, image)
        except StoreError:
            raise
        except DataError as error:
            self.pass_over(index, error)
            return None

    def fingerprint(self) -> Fingerprint:
        """Return the number of images and a hash of what they and their masks are called."""
        return self.pairs.fingerprint()

    def _open_source(self, root: Any, list_file: Any, **options: Any) -> Source:
        self.pairs = open_pairs(root, list_file, allow_outside=options["allow_outside"], opt_in=options["opt_in"])
        return self.pairs.images

    def _target(self, source: int, image: Picture, epoch: int, index: int) -> Any:
        picture = MaskPicture(self.mask(source, image))
        cut = self.transform(picture, sample_rng(self.seed, epoch, index))
        return cut[:, :, 0].astype(self.target_type.dtype)

    def _no_target(self) -> Any:
        return np.full(self.target_type.shape, self.ignore, self.target_type.dtype)
