"""Features of a whole list, encoded once, and batches of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.process import log
from mae_core.stage.config.node import Config
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.loading.batch import Batch
from mae_data.loading.dataset import ListDataset
from mae_probe.evaluate import eval_batches


@dataclass(frozen=True)
class Features:
    """What an encoder makes of a list's images.

    Args:
        features: float32 [N, D]; what an attentive head reads are tokens, [N, L, D].
        labels: int64 [N]; -1 where the list has none.
        paths: N of them, as the list writes them.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    paths: list[str]

    def columns(self, first: int, end: int | None) -> "Features":
        """Return the same images with some of the features' numbers."""
        return Features(np.ascontiguousarray(self.features[:, first:end]), self.labels, self.paths)

    def batch(self, rows: NDArray[np.int64] | None = None) -> Batch:
        """Return (features, labels, indices) of some rows, or of all, as the loader returns images."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        return Batch(*map(paddle.to_tensor, (self.features[rows], self.labels[rows], rows)))


def encode(config: Config, forward: Callable[[Tensor], Tensor], dataset: ListDataset, precision: Precision) -> Features:
    """Encode the images of a list, in its order; on one process.

    Args:
        forward: from images to features or tokens, such as `LinearProbe.forward_features`.
    """
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]] = []
    weights = RoundedWeights()
    for images, labels, indices in eval_batches(config, dataset):
        with precision.autocast(weights):
            features = forward(images).numpy()
        used = indices.numpy() >= 0  # the others could not be read
        parts.append((features[used], labels.numpy()[used], indices.numpy()[used]))
    if dataset.on_error == "drop":
        log.log_lines(dataset.skipped())
    features, labels, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Features(features, labels, [dataset.images.path(int(i)) for i in indices])


@dataclass(frozen=True)
class CachedBatches:
    """Batches of features in the order of a sampler of (epoch, index) keys."""

    cache: Features
    sampler: Iterable[list[tuple[int, int]]]

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.sampler:
            yield self.cache.batch(np.array([index for _, index in keys], dtype=np.int64))
