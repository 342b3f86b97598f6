"""Ranks: one process by itself, or several under `paddle.distributed.launch`."""

import os
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import distributed as dist
from paddle import nn


def rank() -> int:
    """This process's number, 0 when alone."""
    return int(os.environ.get("PADDLE_TRAINER_ID") or 0)


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def is_main() -> bool:
    """Tell whether this process writes logs and checkpoints."""
    return rank() == 0


def init() -> None:
    """Join the other ranks, if there are any."""
    if world_size() > 1 and not dist.is_initialized():
        dist.init_parallel_env()


def wrap(model: nn.Layer) -> nn.Layer:
    """Make backward passes average gradients over ranks; one process keeps the model as it is."""
    return paddle.DataParallel(model) if world_size() > 1 else model


def sum_over_ranks(values: list[float]) -> list[float]:
    """Add numbers over ranks, in float64."""
    if world_size() == 1:
        return values
    total = paddle.to_tensor(values, dtype="float64")
    dist.all_reduce(total)
    return total.tolist()


def sum_array(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add float32 arrays over ranks."""
    if world_size() == 1:
        return values
    total = paddle.to_tensor(values)
    dist.all_reduce(total)
    return np.asarray(total.numpy(), np.float32)


def barrier() -> None:
    """Wait for all ranks."""
    sum_over_ranks([0.0])


def no_sync(model: nn.Layer) -> Any:
    """Return a context in which backward passes keep gradients local (accumulation), or None when alone."""
    return model.no_sync() if isinstance(model, paddle.DataParallel) else None
