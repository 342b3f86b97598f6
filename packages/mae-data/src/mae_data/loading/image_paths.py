"""Image files that are in no list, for the loader: prepared as evaluation does, without labels."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.images.value_range import as_value_range
from mae_data.loading.preprocess import as_image
from mae_data.transforms.pipelines import Size, make_eval_transform


class ImagePaths:
    """A dataset for `make_loader`; see `mae_data.preprocess` for the arguments.

    Args:
        paths: Image files; an unreadable one is named by the DataError that it ends in.
        size: Side of the square result, or (height, width), in pixels.
        crop_pct: Part of the shorter side that the crop shows.
        channels: 3 for RGB, 1 for grey, or as many as all images have.
        value_range: The value of white, or [low, high] of floats.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        size: int | Size,
        crop_pct: float | None = None,
        *,
        channels: int = 3,
        value_range: float | Sequence[float] = 255,
    ) -> None:
        self.paths = paths
        self._transform = make_eval_transform(image_size=size, crop_pct=crop_pct)
        self._channels, self._limits = channels, as_value_range(value_range)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[npt.NDArray[Any], np.int64, np.int64]:
        """Return (image [H, W, C], -1, index) of a key (0, index)."""
        image = as_image(self.paths[key[1]], self._channels, self._limits)
        return self._transform(image), np.int64(-1), np.int64(key[1])

    def describe(self, key: tuple[int, int]) -> str:
        """Name the file of a key, for messages."""
        return str(self.paths[key[1]])
