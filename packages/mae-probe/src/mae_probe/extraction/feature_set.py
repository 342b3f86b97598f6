"""Features of a whole list, encoded once, and batches of them."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

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

Kind = TypeVar("Kind", bound=Hashable)


@dataclass(frozen=True)
class Features:
    """What an encoder makes of a list's images.

    Args:
        features: float32 [N, D]; what an attentive head reads are tokens, [N, L, D], in files float16.
        labels: int64 [N]; -1 where the list has none.
        paths: N of them, as the list writes them.
        windows: int64 [N, 4], row, column, height and width of what was encoded, in pixels; None: whole images.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    paths: list[str]
    windows: NDArray[np.int64] | None = None

    def batch(self, rows: NDArray[np.int64] | None = None) -> Batch:
        """Return (features, labels, indices) of some rows, or of all, as the loader returns images."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        return Batch(*map(paddle.to_tensor, (self.features[rows], self.labels[rows], rows)))


def encode(
    config: Config,
    forward: Callable[[Tensor], Mapping[Kind, Tensor]],
    dataset: ListDataset,
    precision: Precision,
    rows: Sequence[int] | None = None,
) -> dict[Kind, Features]:
    """Encode the images of a list, in its order; on one process.

    Args:
        forward: from images to features or tokens, of any kinds.
        rows: the places in the list of the images that are encoded; None: of all.

    Returns:
        what is made of the images, by the kinds of `forward`.
    """
    made, labels, indices = _encode(config, forward, dataset, precision, rows)
    if dataset.on_error == "drop":
        log.log_lines(dataset.skipped())
    paths = [dataset.images.path(int(i)) for i in indices]
    return {name: Features(features, labels, paths) for name, features in made.items()}


def encode_windows(
    config: Config,
    forward: Callable[[Tensor], Mapping[Kind, Tensor]],
    dataset: ListDataset,
    precision: Precision,
    overlap: int,
) -> dict[Kind, Features]:
    """Encode the windows of a list's images, each of the model's image size at native resolution, image by image.

    Windows mostly without data are left out.

    Args:
        forward: see `encode`.
        overlap: pixels that neighbouring windows share.
    """
    drops, source = dataset.on_error == "drop", dataset.images
    bad = dataset.bad if drops else None
    size, channels = pair(config.DATA.IMAGE_SIZE), config.DATA.IMAGE_CHANNELS
    windows = ImageWindows(dataset.open, len(source), size, channels, overlap, source.labels, bad)
    made, labels, indices = _encode(config, forward, windows, precision)
    if drops:
        log.log_lines(dataset.skipped())
    paths = [source.path(int(number)) for number in windows.images[indices]]
    boxes = np.array([windows.windows[i].box for i in indices], np.int64)
    return {name: Features(features, labels, paths, boxes) for name, features in made.items()}


def _encode(
    config: Config,
    forward: Callable[[Tensor], Mapping[Kind, Tensor]],
    dataset: ListDataset | ImageWindows,
    precision: Precision,
    rows: Sequence[int] | None = None,
) -> tuple[dict[Kind, NDArray[np.float32]], NDArray[np.int64], NDArray[np.int64]]:
    """Return what is made of the samples that could be read, their labels and indices."""
    parts: dict[Kind, list[NDArray[np.float32]]] = {}
    labels: list[NDArray[np.int64]] = []
    indices: list[NDArray[np.int64]] = []
    weights = RoundedWeights()
    for images, label, index in eval_batches(config, dataset, rows=rows):
        with precision.autocast(weights):
            made = {name: features.numpy() for name, features in forward(images).items()}
        used = index.numpy() >= 0  # the others could not be read
        for name, features in made.items():
            parts.setdefault(name, []).append(features[used])
        labels.append(label.numpy()[used])
        indices.append(index.numpy()[used])
    whole = {name: np.concatenate(part) for name, part in parts.items()}
    return whole, np.concatenate(labels), np.concatenate(indices)


@dataclass(frozen=True)
class CachedBatches:
    """Batches of features in the order of a sampler of (epoch, index) keys."""

    cache: Features
    sampler: Iterable[list[tuple[int, int]]]

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.sampler:
            yield self.cache.batch(np.array([index for _, index in keys], dtype=np.int64))
