"""Ranks: one process by itself, or several under `paddle.distributed.launch` or `srun`."""

import ctypes
import os
import secrets
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import distributed as dist
from paddle import nn

from mae_core.process import signals, watchdog

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def rank() -> int:
    """Return this process's number; 0 when it is alone."""
    return int(os.environ.get("PADDLE_TRAINER_ID") or 0)


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def is_main() -> bool:
    """Return whether this process writes logs and checkpoints."""
    return rank() == 0


def init() -> None:
    """Join the other ranks, if there are any; from then on they watch each other (`watchdog`)."""
    if world_size() > 1 and not dist.is_initialized():
        if "PADDLE_LOG_DIR" in os.environ and sys.platform == "linux":
            # Where the launcher is killed, its ranks would train on without anybody's leave: they save and end.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        dist.init_parallel_env()
        _watch_each_other()


def _watch_each_other() -> None:
    """Connect the ranks; only they know the port and the number that opens it."""
    watch = watchdog.RankWatch(rank(), world_size())
    host = (os.environ.get("PADDLE_MASTER") or os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0]).rsplit(":", 1)[0]
    token = secrets.randbits(50) if is_main() else 0
    port = watch.open(host, str(token)) if is_main() else 0
    port, token = map(int, sum_over_ranks([float(port), float(token)]))
    if not is_main():
        watch.join(host, port, str(token))
    watchdog.install(watch)
    signals.delay_abort()


def wrap(model: nn.Layer) -> nn.Layer:
    """Make backward passes average gradients over ranks; one process keeps the model as it is.

    A model whose parts rest at times, without gradients, says so by an attribute `rests`.
    """
    rests = getattr(model, "rests", False)
    return paddle.DataParallel(model, find_unused_parameters=rests) if world_size() > 1 else model


def sum_over_ranks(values: list[float]) -> list[float]:
    """Add numbers over ranks, in float64."""
    if world_size() == 1:
        return values
    with watchdog.doing("waiting for the other ranks"):
        total = paddle.to_tensor(values, dtype="float64")
        dist.all_reduce(total)
        summed: list[float] = total.tolist()
    return summed


def gather(value: Any) -> list[Any]:
    """Return what each rank brings, by rank."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = []
    dist.all_gather_object(gathered, value)
    return gathered


def sum_array(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add float32 arrays over ranks."""
    if world_size() == 1:
        return values
    total = paddle.to_tensor(values)
    dist.all_reduce(total)
    return np.asarray(total.numpy(), np.float32)


def broadcast(tensor: paddle.Tensor, source: int) -> None:
    """Give a tensor, in place, the values that it has on rank `source`."""
    if world_size() > 1:
        dist.broadcast(tensor, src=source)


def barrier() -> None:
    """Wait for all ranks."""
    sum_over_ranks([0.0])


def no_sync(model: nn.Layer) -> AbstractContextManager[None]:
    """Return a context in which backward passes keep gradients local (accumulation)."""
    return model.no_sync() if isinstance(model, paddle.DataParallel) else nullcontext()


def sum_tensor(values: paddle.Tensor) -> paddle.Tensor:
    """Add tensors over ranks."""
    total = values.clone()
    dist.all_reduce(total)
    return total


def concat_over_ranks(rows: paddle.Tensor) -> paddle.Tensor:
    """Join what the ranks hold, by rank; no gradient flows back."""
    if world_size() == 1:
        return rows
    parts: list[paddle.Tensor] = []
    dist.all_gather(parts, rows.detach())
    return paddle.concat(parts)
