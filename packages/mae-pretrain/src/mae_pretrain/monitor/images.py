"""The images that the monitor looks at: a bounded part of a list, with labels where the data have any."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.stage.config.node import Config
from mae_core.stage.config.to_data_arguments import eval_sampling_of, loading_of
from mae_data.errors import DataError
from mae_data.loading.batch import Batch
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import EvalBatchSampler
from mae_pretrain.build import eval_dataset, labelled_dataset


class MonitoredImages:
    """Images evenly spread over a list, `number` at most, with their labels where the data have any.

    Attributes:
        chosen: int64 [M], their indices.
        labels: int64 [M], or None.
    """

    def __init__(self, config: Config, list_name: str, number: int) -> None:
        self.config, self.dataset = config, eval_dataset(config, list_name, dropping=True)
        self.chosen = np.unique(np.linspace(0, len(self.dataset) - 1, number).astype(np.int64))
        labels = _labels_of(config, self.dataset, list_name, self.chosen)
        self.labels = None if labels is None or labels.min() < 0 else labels

    def batches(self, should_stop: Callable[[], bool]) -> Iterable[Batch]:
        """Return this rank's batches; their indices are those of the list."""
        places = EvalBatchSampler(len(self.chosen), **eval_sampling_of(self.config))
        keys = [[(0, int(self.chosen[place])) for _, place in batch] for batch in places]
        return make_loader(self.dataset, keys, **loading_of(self.config), stop=should_stop)


def readable(dataset: ListDataset, places: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read images [M, H, W, C]; leave out those that cannot be read, where the dataset drops such.

    Returns:
        the images, and their places [M].
    """
    samples = [dataset[int(place)] for place in places]
    found = [(image, index) for image, _, index in samples if index >= 0]
    return np.array([image for image, _ in found]), np.array([index for _, index in found], np.int64)


def _labels_of(
    config: Config, dataset: ListDataset, list_name: str, chosen: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Return the labels [M] of the chosen images; pre-training itself needs none, so class folders were not looked at.

    Without val/, a tenth of the class folders would be held out for a classifier; pre-training trains on it, so those
    are not the same images, and there are no labels.
    """
    if dataset.images.labels[chosen].min() >= 0:
        return dataset.images.labels[chosen]
    try:
        other = labelled_dataset(config, list_name).images
    except DataError:
        return None
    same = len(other) == len(dataset) and all(other.path(int(i)) == dataset.images.path(int(i)) for i in chosen)
    return other.labels[chosen] if same else None
