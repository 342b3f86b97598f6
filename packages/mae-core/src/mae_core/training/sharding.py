"""Optimizer state sharded over ranks (ZeRO stage 1, arXiv 1910.02054): each rank updates its share of the parameters.

Gradients are averaged on all ranks as ever, so norm, clipping and loss scale are what they were. Then each rank
updates the parameters it owns and gets the others' from their owners: AdamW looks at each number by itself, so the
weights are those of an unsharded run, bit for bit. Paddle's own (`group_sharded_parallel`) refuses CPUs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from mae_core.process import distributed, log, watchdog
from mae_core.training.checkpoints.writer import host_copy


def owners(sizes: Sequence[int], ranks: int) -> list[int]:
    """Return the rank that owns each parameter: the largest first, each to the rank that has least."""
    loads, owner = [0] * ranks, [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        owner[i] = loads.index(min(loads))
        loads[owner[i]] += sizes[i]
    return owner


class ShardedOptimizer:
    """An optimizer that keeps state of its rank's parameters only; in all else it is the optimizer within.

    Args:
        optimizer: over all parameters; it creates a parameter's state when it first updates it.
        parameters: what is trained, the same on all ranks.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer, parameters: Sequence[Tensor]) -> None:
        self._optimizer = optimizer
        sizes = [int(p.size) for p in parameters]
        self._shares = list(zip(parameters, owners(sizes, distributed.world_size()), strict=True))
        own = sum(int(p.size) for p, owner in self._shares if owner == distributed.rank())
        log.LOGGER.info(f"optimizer: sharded, state of {own:,} of {sum(sizes):,} numbers on this rank")
        self._collected: dict[str, np.ndarray] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def owns(self, parameter: Tensor) -> bool:
        """Return whether this rank updates a parameter."""
        return any(p is parameter and owner == distributed.rank() for p, owner in self._shares)

    @paddle.no_grad()
    def step(self) -> None:
        """Update this rank's parameters, and take the others from the ranks that own them."""
        for p, owner in self._shares:
            if owner != distributed.rank():
                p.clear_gradient(False)  # what has no gradient is not updated, and gets no state
        self._optimizer.step()
        with watchdog.doing("sharing weights"):
            for p, owner in self._shares:
                distributed.broadcast(p, owner)

    def collect(self) -> None:
        """Copy the other ranks' state, array by array, to rank 0's host memory for `state_dict`; all ranks call it."""
        own, main, self._collected = self._tensors(), distributed.is_main(), {}
        states = distributed.gather([(key, list(value.shape), str(value.dtype)) for key, value in own.items()])
        for owner, entries in enumerate(states[1:], 1):
            for key, shape, dtype in entries:
                value = own[key] if owner == distributed.rank() else paddle.empty(shape, dtype.rpartition(".")[2])
                distributed.broadcast(value, owner)
                if main:
                    self._collected[key] = host_copy(value)

    def _tensors(self) -> dict[str, Tensor]:
        return {key: value for key, value in self._optimizer.state_dict().items() if isinstance(value, Tensor)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parameters, on rank 0 after `collect`."""
        assert self._collected is not None, "collect() comes first, on all ranks"
        state, self._collected = self._tensors() | self._collected, None
        return state


def shard_optimizer(
    optimizer: paddle.optimizer.Optimizer, parameters: Sequence[Tensor]
) -> paddle.optimizer.Optimizer | ShardedOptimizer:
    """Shard an optimizer over the ranks; one process keeps it as it is."""
    return ShardedOptimizer(optimizer, parameters) if distributed.world_size() > 1 else optimizer


def owns(optimizer: paddle.optimizer.Optimizer | ShardedOptimizer, parameter: Tensor) -> bool:
    """Return whether this rank keeps a parameter's state."""
    return not isinstance(optimizer, ShardedOptimizer) or optimizer.owns(parameter)


def collect(optimizer: paddle.optimizer.Optimizer | ShardedOptimizer, wanted: bool = True) -> None:
    """Bring sharded state to rank 0 if any rank wants it; all ranks call it. Nothing where it is not sharded."""
    if isinstance(optimizer, ShardedOptimizer) and distributed.sum_over_ranks([float(wanted)])[0]:
        optimizer.collect()
