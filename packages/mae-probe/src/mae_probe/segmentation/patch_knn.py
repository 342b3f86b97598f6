"""Segmentation by the nearest training patches, without training (Balazevic et al., arXiv 2306.01667)."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.evaluation.features import Whitening, fit_whitening, unit

NEIGHBOURS, TEMPERATURE = 30, 0.02  # the paper's
MEMORY = 100_000  # patches that are kept
_CHUNK = 1024  # patches compared with all of the memory at a time


def class_shares(
    mask: NDArray[np.integer], grid: tuple[int, int], num_classes: int, ignore: int
) -> NDArray[np.float32]:
    """Return what share of a patch's scored pixels is of each class.

    Args:
        mask: [H, W], classes from 0; H and W are multiples of the grid's rows and columns.
        grid: rows and columns of patches.

    Returns:
        float32 [L, K] in image order, rows of sum 1; of zeros where every pixel is to be ignored.
    """
    rows, columns = grid
    patches = mask.reshape(rows, mask.shape[0] // rows, columns, mask.shape[1] // columns)
    flat = patches.transpose(0, 2, 1, 3).reshape(rows * columns, -1)  # [L, p*p]
    # One more class takes the ignored pixels, and is cut off.
    classes = np.where(flat == ignore, num_classes, flat).astype(np.int64)
    places = np.arange(len(flat))[:, None] * (num_classes + 1) + classes
    counts = np.bincount(places.ravel(), minlength=len(flat) * (num_classes + 1))
    counts = counts.reshape(len(flat), num_classes + 1)[:, :num_classes].astype(np.float32)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


class PatchMemory:
    """Training patches: their features and the classes of their pixels.

    Args:
        images: how many images it is filled from; each gives the same number of patches, drawn without replacement.
        size: patches to keep at most.
        seed: of the draw.
        whiten: compare whitened features; the whitening is that of the patches that are kept. Not of the paper.

    Attributes:
        features: float32 [M, D], of length 1.
        shares: float32 [M, K].
    """

    def __init__(self, images: int, size: int = MEMORY, seed: int = 0, whiten: bool = False) -> None:
        self._whiten = whiten
        self._whitening: Whitening | None = None
        self._each, self._rng = max(1, size // max(1, images)), np.random.default_rng(seed)
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self.features, self.shares = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)

    def add(self, features: NDArray[np.float32], shares: NDArray[np.float32]) -> None:
        """Take an image's patches [L, D] and shares [L, K]; those without a scored pixel are left out."""
        known = np.flatnonzero(shares.any(axis=1))
        # Sorting noise draws the same patches with every NumPy, which its choice() does not promise.
        drawn = known[np.argsort(self._rng.random(len(known)), kind="stable")[: self._each]]
        self._parts.append((features[drawn], shares[drawn]))

    def finish(self) -> None:
        """Make the arrays of what was added.

        Raises:
            UserError: no patch has a scored pixel, or they do not vary, so that they cannot be whitened.
        """
        features, self.shares = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        self._parts = []
        if not len(features):
            raise UserError("no training mask has a pixel that counts; check classes and the value to ignore")
        try:
            self._whitening = fit_whitening(features) if self._whiten else None
        except ValueError as error:
            raise UserError(f"--whiten: {error}; leave it out, or use an encoder that tells patches apart") from None
        self.features = self._comparable(features)

    def classify(
        self, features: NDArray[np.float32], k: int = NEIGHBOURS, temperature: float = TEMPERATURE
    ) -> NDArray[np.float32]:
        """Return the share of each class that the k nearest patches give to patches [L, D] -> float32 [L, K].

        A neighbour weighs as the softmax of cosine / temperature over the k.
        """
        k = min(k, len(self.features))
        return np.concatenate([self._classify(chunk, k, temperature) for chunk in _chunks(self._comparable(features))])

    def _comparable(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit(self._whitening(features) if self._whitening else features)

    def _classify(self, queries: NDArray[np.float32], k: int, temperature: float) -> NDArray[np.float32]:
        cosines = queries @ self.features.T  # [n, M]
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64) / temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkc->nc", weights, self.shares[nearest]).astype(np.float32)


def _chunks(x: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    return (x[i : i + _CHUNK] for i in range(0, max(len(x), 1), _CHUNK))
