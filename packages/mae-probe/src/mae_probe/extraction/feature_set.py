"""Features of a whole list, encoded once, and batches of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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

    def batch(self, rows: NDArray[np.int64] | None = None) -> Batch:
        """Return (features, labels, indices) of some rows, or of all, as the loader returns images."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        return Batch(*map(paddle.to_tensor, (self.features[rows], self.labels[rows], rows)))


def encode(
    config: Config, forward: Callable[[Tensor], Mapping[str, Tensor]], dataset: ListDataset, precision: Precision
) -> dict[str, Features]:
    """Encode the images of a list, in its order; on one process.

    Args:
        forward: from images to features or tokens, of any kinds by name.

    Returns:
        what is made of the images, by the names of `forward`.
    """
    parts: dict[str, list[NDArray[np.float32]]] = {}
    labels: list[NDArray[np.int64]] = []
    indices: list[NDArray[np.int64]] = []
    weights = RoundedWeights()
    for images, label, index in eval_batches(config, dataset):
        with precision.autocast(weights):
            made = {name: features.numpy() for name, features in forward(images).items()}
        used = index.numpy() >= 0  # the others could not be read
        for name, features in made.items():
            parts.setdefault(name, []).append(features[used])
        labels.append(label.numpy()[used])
        indices.append(index.numpy()[used])
    if dataset.on_error == "drop":
        log.log_lines(dataset.skipped())
    paths = [dataset.images.path(int(i)) for i in np.concatenate(indices)]
    return {name: Features(np.concatenate(part), np.concatenate(labels), paths) for name, part in parts.items()}


@dataclass(frozen=True)
class CachedBatches:
    """Batches of features in the order of a sampler of (epoch, index) keys."""

    cache: Features
    sampler: Iterable[list[tuple[int, int]]]

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.sampler:
            yield self.cache.batch(np.array([index for _, index in keys], dtype=np.int64))
