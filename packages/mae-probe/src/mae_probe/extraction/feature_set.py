"""Features of a whole list, encoded once, and batches of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.ops.patches import pair
from mae_core.process import log
from mae_core.stage.config.node import Config
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.loading.batch import Batch
from mae_data.loading.dataset import ListDataset
from mae_data.loading.image_windows import ImageWindows
from mae_probe.evaluate import eval_batches


@dataclass(frozen=True)
class Features:
    """What an encoder makes of a list's images.

    Args:
        features: float32 [N, D]; what an attentive head reads are tokens, [N, L, D].
        labels: int64 [N]; -1 where the list has none.
        paths: N of them, as the list writes them.
        windows: int64 [N, 4], row, column, height and width of what was encoded, in pixels; None: whole images.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    paths: list[str]
    windows: NDArray[np.int64] | None = None

    def columns(self, first: int, end: int | None) -> "Features":
        """Return the same images with some of the features' numbers."""
        return replace(self, features=np.ascontiguousarray(self.features[:, first:end]))

    def batch(self, rows: NDArray[np.int64] | None = None) -> Batch:
        """Return (features, labels, indices) of some rows, or of all, as the loader returns images."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        return Batch(*map(paddle.to_tensor, (self.features[rows], self.labels[rows], rows)))


def encode(config: Config, forward: Callable[[Tensor], Tensor], dataset: ListDataset, precision: Precision) -> Features:
    """Encode the images of a list, in its order; on one process.

    Args:
        forward: from images to features or tokens, such as `LinearProbe.forward_features`.
    """
    features, labels, indices = _encode(config, forward, dataset, precision)
    if dataset.on_error == "drop":
        log.say(dataset.skipped())
    return Features(features, labels, [dataset.images.path(int(i)) for i in indices])


def encode_windows(
    config: Config, forward: Callable[[Tensor], Tensor], dataset: ListDataset, precision: Precision, overlap: int
) -> Features:
    """Encode the windows of a list's images, each of the model's image size at native resolution, image by image.

    Args:
        forward: see `encode`.
        overlap: pixels that neighbouring windows share.
    """
    drops, size = dataset.on_error == "drop", pair(config.DATA.IMAGE_SIZE)
    source, bad = dataset.images, dataset.bad if drops else None
    parts = ImageWindows(dataset.open, len(source), size, overlap, source.labels, bad)
    features, labels, indices = _encode(config, forward, parts, precision)
    if drops:
        log.say(dataset.skipped())
    paths = [source.path(int(number)) for number in parts.images[indices]]
    return Features(features, labels, paths, np.array([parts.windows[i].box for i in indices], np.int64))


def _encode(
    config: Config, forward: Callable[[Tensor], Tensor], dataset: ListDataset | ImageWindows, precision: Precision
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return features, labels and indices of the samples that could be read."""
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]] = []
    weights = RoundedWeights()
    for images, labels, indices in eval_batches(config, dataset):
        with precision.autocast(weights):
            features = forward(images).numpy()
        used = indices.numpy() >= 0  # the others could not be read
        parts.append((features[used], labels.numpy()[used], indices.numpy()[used]))
    features, labels, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features, labels, indices


@dataclass(frozen=True)
class CachedBatches:
    """Batches of features in the order of a sampler of (epoch, index) keys."""

    cache: Features
    sampler: Iterable[list[tuple[int, int]]]

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.sampler:
            yield self.cache.batch(np.array([index for _, index in keys], dtype=np.int64))
