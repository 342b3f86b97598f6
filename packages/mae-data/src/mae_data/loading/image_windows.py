"""Data sets of images that are in no list, for the loader: files as they are named, and the windows of large images."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.native_code import Size
from mae_data.images.scene import OpenScenes, Scene
from mae_data.images.value_range import ValueRange, limits_of
from mae_data.images.windows import Window, sliding_windows
from mae_data.loading.bad_images import BadImages
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture


class ImageWindows:
    """A dataset of windows at native resolution, image by image, for `make_loader`; see `sliding_windows`.

    Args:
        read: opens an image by its number, and names it where it cannot.
        count: how many images there are.
        size: (height, width) of a window.
        channels: of a sample. Where images have one more, which says how much of each pixel are data (`coverage` of
            `ListDataset`), windows of which less than half are data count as such that cannot be read.
        overlap: pixels that neighbours share.
        labels: int64 [count], of the images; None: -1 for all.
        bad: counts images that cannot be used, which have no windows then; None ends at the first.

    Attributes:
        windows: of all images, in their order.
        images: int64 [N], the number of the image that each is of.
        sizes: (height, width) of each image, by its number.

    Raises:
        DataError: an image cannot be read, or is smaller than a window.
    """

    def __init__(
        self,
        read: Callable[[int], Picture],
        count: int,
        size: Size,
        channels: int,
        overlap: int = 0,
        labels: npt.NDArray[np.int64] | None = None,
        bad: BadImages | None = None,
    ) -> None:
        self._read, self._size, self._labels, self.bad = read, size, labels, bad
        self._channels = channels
        self._scenes = OpenScenes()
        self._last: tuple[int, Picture] | None = None
        self.windows: list[Window] = []
        self.sizes: dict[int, Size] = {}
        numbers: list[int] = []
        for number in range(count):
            found = self._windows_of(number, overlap)
            self.windows += found
            numbers += [number] * len(found)
        self.images = np.array(numbers, np.int64)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: tuple[int, int]) -> tuple[npt.NDArray[Any], np.int64, np.int64]:
        """Return (pixels [H, W, C], the image's label, index) of a key (0, index).

        A window without data, or that cannot be read where bad images are counted, has index ~index (below 0).
        """
        index = key[1]
        number, label = int(self.images[index]), np.int64(-1)
        if self._labels is not None:
            label = np.int64(self._labels[number])
        try:
            image = self._open(number)
            pixels = resized_crop(image, self.windows[index].box, self._size)
            used = pixels.shape[2] == self._channels or _holds_data(pixels[..., -1], limits_of(image))
            return pixels[..., : self._channels], label, np.int64(index if used else ~index)
        except DataError as error:
            if self.bad is None:
                raise
            self.bad.add(number, error)
        image = self._open(number)
        assert isinstance(image, Scene)  # all else was decoded before, whole
        empty = np.zeros((*self._size, self._channels), image.limits.dtype)
        return empty, np.int64(-1), np.int64(~index)

    def describe(self, key: tuple[int, int]) -> str:
        """Name the window of a key, for messages."""
        return f"image {self.images[key[1]]}, {self.windows[key[1]]}"

    def _windows_of(self, number: int, overlap: int) -> Sequence[Window]:
        try:
            image = self._open(number)
            self.sizes[number] = image.height, image.width
            return sliding_windows(image.height, image.width, self._size, overlap)
        except DataError as error:
            if self.bad is None:
                raise
            self.bad.add(number, error)
            return []

    def _open(self, number: int) -> Picture:
        """Open an image; scenes stay open, and of others the last one."""
        if self._last is None or self._last[0] != number:
            scene = self._scenes.get(number, lambda: self._scene(number))
            if scene is not None:
                return scene
        assert self._last is not None
        return self._last[1]

    def _scene(self, number: int) -> Scene | None:
        image = self._read(number)
        if isinstance(image, Scene):
            return image
        self._last = number, image
        return None


def _holds_data(coverage: npt.NDArray[Any], limits: ValueRange) -> bool:
    """Tell whether at least half of a window [H, W] are data."""
    return bool(coverage.mean(dtype=np.float64) - limits.low >= limits.span / 2)


class ImagePaths:
    """A dataset for `make_loader`.

    Args:
        paths: Image files; an unreadable one is named by the DataError that it ends in.
        given: What becomes of them.
        drops: An unreadable one is an empty image of index ~index (below 0) instead.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], given: ModelInput, drops: bool = False) -> None:
        self.paths = paths
        self._given, self._drops = given, drops

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[npt.NDArray[Any], np.int64, np.int64]:
        """Return (image [H, W, C], -1, index) of a key (0, index)."""
        try:
            return self._given.pixels(self.paths[key[1]]), np.int64(-1), np.int64(key[1])
        except DataError:
            if not self._drops:
                raise
        nothing = np.zeros((*self._given.transform.size, self._given.channels), self._given.limits.dtype)
        return nothing, np.int64(-1), np.int64(~key[1])

    def describe(self, key: tuple[int, int]) -> str:
        """Name the file of a key, for messages."""
        return str(self.paths[key[1]])
