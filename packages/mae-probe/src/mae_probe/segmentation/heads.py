"""What is put on frozen patches to segment: nearest neighbours, or one linear layer."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mae_probe.segmentation.patch_knn import MEMORY, NEIGHBOURS, TEMPERATURE, PatchMemory, class_shares

Grid: TypeAlias = tuple[int, int]
Batches: TypeAlias = Callable[[], Iterable[tuple[NDArray[np.float32], NDArray[np.integer]]]]


class PatchHead(Protocol):
    """Learns from training patches what classes they show."""

    def fit(self, batches: Batches) -> None:
        """Learn.

        Args:
            batches: gives an iterator over the training set: patches [N, L, D] in image order, masks [N, H, W].
        """
        ...

    def predict(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score the classes of patches [N, L, D] -> [N, L, K]."""
        ...


class KnnHead:
    """Segmentation by the nearest training patches; see `PatchMemory`.

    Args:
        classes: K.
        ignore: value of the masks' pixels that do not count.
        grid: rows and columns of patches.
        images: how many training images there are.
        size: patches to keep at most.
        k, temperature: neighbours that vote, with weights softmax(cosine / temperature).
        seed: draws the patches that are kept.
        whiten: see `PatchMemory`.
    """

    def __init__(
        self,
        classes: int,
        ignore: int,
        grid: Grid,
        images: int,
        size: int = MEMORY,
        k: int = NEIGHBOURS,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        whiten: bool = False,
    ) -> None:
        self._classes, self._ignore, self._grid = classes, ignore, grid
        self._k, self._temperature = k, temperature
        self.memory = PatchMemory(images, size, seed, whiten)

    def fit(self, batches: Batches) -> None:
        """Fill the memory."""
        for patches, masks in batches():
            for of_image, mask in zip(patches, masks, strict=True):
                self.memory.add(of_image, class_shares(mask, self._grid, self._classes, self._ignore))
        self.memory.finish()

    def predict(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what share of each class the neighbours of patches [N, L, D] give -> [N, L, K]."""
        shares = self.memory.classify(patches.reshape(-1, patches.shape[-1]), self._k, self._temperature)  # [N * L, K]
        return shares.reshape(*patches.shape[:2], self._classes)
