"""Features of a whole list, encoded once, and batches of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.config import Config
from mae_core.training.precision import Precision
from mae_data.dataset import ListDataset
from mae_probe.evaluate import eval_batches
from mae_probe.model import LinearProbe


@dataclass(frozen=True)
class Features:
    """What an encoder makes of a list's images.

    Args:
        features: float32 [N, D].
        labels: int64 [N]; -1 where the list has none.
        paths: N of them, as the list writes them.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    paths: list[str]

    def batch(self, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return (features, labels, indices) of some rows, or of all, as the loader returns images."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        return paddle.to_tensor(self.features[rows]), paddle.to_tensor(self.labels[rows]), paddle.to_tensor(rows)


def encode(config: Config, model: LinearProbe, dataset: ListDataset, precision: Precision) -> Features:
    """Encode the images of a list, in its order; on one process."""
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]] = []
    for images, labels, indices in eval_batches(config, dataset):
        with precision.autocast():
            features = model.forward_features(images).numpy()
        parts.append((features, labels.numpy(), indices.numpy()))
    features, labels, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Features(features, labels, [dataset.images.path(int(i)) for i in indices])


@dataclass(frozen=True)
class CachedBatches:
    """Batches of features in the order of a sampler of (epoch, index) keys."""

    cache: Features
    sampler: Iterable[list[tuple[int, int]]]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for keys in self.sampler:
            yield self.cache.batch(np.array([index for _, index in keys], dtype=np.int64))
