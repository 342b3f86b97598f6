"""Batches of several views of each image."""

from collections.abc import Iterator

from mae_data.loading.sampler import KeyBatch, TrainBatchSampler


class ViewSampler:
    """The batches of another sampler, each image asked for several times in a row: it is decoded once.

    Each view is the crop of an epoch of its own, so views differ within an epoch and between epochs.

    Args:
        images: draws the images.
        views: of each, V.
    """

    def __init__(self, images: TrainBatchSampler, views: int) -> None:
        self.images, self.views = images, views

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[KeyBatch]:
        for keys in self.images:
            yield [(epoch * self.views + view, index) for epoch, index in keys for view in range(self.views)]
