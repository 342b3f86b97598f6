"""Image files that are in no list, for the loader: prepared as evaluation does, without labels."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.loading.preprocess import ModelInput


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
