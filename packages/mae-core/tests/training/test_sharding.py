"""Sharded optimizers: who owns what, as one rank of two sees it; real ranks train in tests/test_sharded_runs.py."""

import numpy as np
import paddle
import pytest

from mae_core.process import distributed
from mae_core.training.optim import build_adamw, trainable
from mae_core.training.sharding import owners, shard_optimizer


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_each_rank_owns_as_much_as_the_others_but_for_one_parameter(ranks):
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 1000, 60)]
    owner = owners(sizes, ranks)
    loads = [sum(size for size, o in zip(sizes, owner, strict=True) if o == rank) for rank in range(ranks)]
    assert sum(loads) == sum(sizes)
    assert max(loads) - min(loads) <= max(sizes)
    assert owners(sizes, ranks) == owner


def test_one_large_parameter_weighs_as_much_as_several_small_ones():
    assert owners([1, 3, 8, 4], 2) == [1, 1, 0, 1]


def one_step(monkeypatch, rank, given):
    """Do a step as a rank of two; `given` are the weights that the other sends. Returns model and optimizer."""
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    paddle.seed(0)
    model = paddle.nn.Sequential(paddle.nn.Linear(40, 30), paddle.nn.Linear(30, 40))
    parameters = [p for _, p in trainable(model)]
    names = {p.name: name for name, p in model.named_parameters()}

    def broadcast(p, source):
        if source != rank:
            p.set_value(given[names[p.name]])

    monkeypatch.setattr(distributed, "broadcast", broadcast)
    optimizer = shard_optimizer(build_adamw(model), parameters)
    optimizer.set_lr(0.1)
    model(paddle.ones([2, 40])).square().mean().backward()
    optimizer.step()
    optimizer.clear_grad()
    return model, optimizer


def test_a_rank_updates_and_remembers_its_own_parameters_and_takes_the_others(monkeypatch):
    given = {f"{i}.{kind}": paddle.full(shape, 7.0) for i, w, b in ((0, [40, 30], [30]), (1, [30, 40], [40]))
             for kind, shape in (("weight", w), ("bias", b))}  # fmt: skip
    kept = {}
    for rank in range(2):
        with monkeypatch.context() as patch:
            model, optimizer = one_step(patch, rank, given)
            with pytest.raises(AssertionError, match="collect"):
                optimizer.state_dict()
            for name, p in model.named_parameters():
                assert optimizer.owns(p) != bool((p.numpy() == 7).all())
                kept[rank, name] = [k for k in optimizer._tensors() if k.startswith(p.name) and "moment" in k]
                assert bool(kept[rank, name]) == optimizer.owns(p)
    assert sorted(name for (_, name), keys in kept.items() if keys) == sorted(given)
    assert {len(keys) for keys in kept.values()} == {0, 2}


def test_alone_an_optimizer_is_left_as_it_is():
    optimizer = build_adamw(paddle.nn.Linear(2, 2))
    assert shard_optimizer(optimizer, []) is optimizer
