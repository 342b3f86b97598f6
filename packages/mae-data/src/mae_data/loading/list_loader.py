"""Loaders over a list of images: the batches of a training run, or each image once."""

from collections.abc import Callable, Mapping
from typing import Any

from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import BatchLoader, make_loader
from mae_data.loading.sampler import EvalBatchSampler, TrainBatchSampler


def make_train_loader(
    dataset: ListDataset,
    sampling: Mapping[str, Any],
    loading: Mapping[str, Any],
    stop: Callable[[], bool],
    start_step: int,
    num_steps: int,
) -> BatchLoader:
    """Make the loader of a training run from one step on.

    Args:
        dataset: the training images.
        sampling: arguments of `TrainBatchSampler`, but for the number of images and the steps.
        loading: arguments of `make_loader`, such as the workers.
        stop: tells whether the run was asked to stop.
        start_step: first step to load, counted over the whole run.
        num_steps: steps of the whole run.
    """
    sampler = TrainBatchSampler(len(dataset), start_step=start_step, num_steps=num_steps, **sampling)
    return make_loader(dataset, sampler, **loading, stop=stop)


def make_eval_loader(
    dataset: ListDataset,
    sampling: Mapping[str, Any],
    loading: Mapping[str, Any],
    stop: Callable[[], bool] = lambda: False,
) -> BatchLoader:
    """Make the loader of this rank's share of a list, in order, each image once.

    Args:
        dataset: the images.
        sampling: arguments of `EvalBatchSampler`, but for the number of images.
        loading: arguments of `make_loader`, such as the workers.
        stop: tells whether the run was asked to stop.
    """
    return make_loader(dataset, EvalBatchSampler(len(dataset), **sampling), **loading, stop=stop)
