"""A dataset of images with a mask each: the class of each pixel, cut and turned as the image is."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, ImageError, StoreError
from mae_data.images.jpeg import JpegImage
from mae_data.images.mask import MaskPicture, read_mask
from mae_data.loading.dataset import ListDataset
from mae_data.sources.mask_pairs import MaskPairs, open_pairs
from mae_data.sources.source import Fingerprint, Targets, TargetType
from mae_data.transforms.pipelines import Picture, Transform

Classes = npt.NDArray[np.integer]
Name = str | os.PathLike[str]


@dataclass(frozen=True)
class Masks(Targets):
    """Images and the mask of each, which is read when it is wanted; see `MaskDataset`.

    Attributes:
        pairs: images and masks.
        classes: K; masks hold 0 to K - 1, and `ignore`.
        ignore: value of pixels that count as no class.
        size: (height, width) of a mask that is cut.
    """

    pairs: MaskPairs
    classes: int
    ignore: int
    size: tuple[int, ...]

    @property
    def type(self) -> TargetType:
        """What the loader gives."""
        is_small = max(self.classes - 1, self.ignore) <= np.iinfo(np.uint8).max
        return TargetType(self.size, "uint8" if is_small else "int32")

    @property
    def missing(self) -> Any:
        """What stands beside an image that is left out."""
        return np.full(self.size, self.ignore, self.type.dtype)

    def read(self, index: int, image: Picture, cut: Callable[[Any], npt.NDArray[Any]]) -> Any:
        """Return the mask of an image, cut as the image is."""
        return cut(MaskPicture(self.whole(index, image)))[:, :, 0].astype(self.type.dtype)

    def whole(self, index: int, image: Picture | None) -> Classes:
        """Read a whole mask; see `MaskDataset.mask`."""
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
        masks: what stands beside the images.

    Raises:
        DataError: the list is faulty; on access, an image or mask is (the message names its line and path).
    """

    def __init__(
        self, root: Name, list_file: Name, transform: Transform, *, classes: int, ignore: int = 255, **options: Any
    ) -> None:
        size: Any = getattr(transform, "size", ())

        def open_masks(root: Name, list_file: Name, *, allow_outside: bool, opt_in: str) -> Masks:
            self.pairs = open_pairs(root, list_file, allow_outside=allow_outside, opt_in=opt_in)
            images = self.pairs.images
            flags = ("--masks", "--ignore", str(ignore))
            self.masks = Masks(images, images.labels, self.pairs, classes, ignore, tuple(size), flags=flags)
            return self.masks

        super().__init__(root, list_file, transform, **options, open_targets=open_masks)
        self.classes, self.ignore = classes, ignore

    def mask(self, index: int, image: Picture | None = None) -> Classes:
        """Read the whole mask of an image by its place in the list, [H, W] of uint8 or uint16.

        Args:
            image: the opened image, whose size the mask must have; None: not compared.

        Raises:
            DataError: it cannot be read, is of another size, or holds values that are neither a class nor `ignore`.
        """
        return self.masks.whole(index, image)

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
