"""LARS against the published formula, in NumPy float64."""

import numpy as np
import paddle
import pytest

import mae_core
from mae_probe.optimizer import Lars

assert mae_core


def published(w, gradients, lrs, momentum, decay, trust):
    """You et al. 2017, algorithm 1, with the learning rate outside of the momentum, as MAE has it."""
    v = np.zeros_like(w)
    for g, lr in zip(gradients, lrs, strict=True):
        u = g
        if w.ndim > 1:
            u = g + decay * w
            norms = np.sqrt((w**2).sum()), np.sqrt((u**2).sum())
            u = u * (trust * norms[0] / norms[1] if min(norms) > 0 else 1.0)
        v = momentum * v + u
        w = w - lr * v
    return w, v


def parameter(values):
    p = paddle.create_parameter(list(values.shape), "float32")
    p.set_value(paddle.to_tensor(values.astype("float32")))
    return p


def give(p, gradient):
    (p * paddle.to_tensor(gradient.astype("float32"))).sum().backward()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("start", ["normal", "zero"])
def test_steps_follow_the_published_formula(decay, start):
    rng = np.random.default_rng(0)
    lrs = [0.0, 3.0, 6.4, 2.0, 0.5]
    values = [rng.normal(size=shape) * (start == "normal") for shape in ((4, 3), (3,))]
    gradients = [[rng.normal(size=v.shape) for _ in lrs] for v in values]
    parameters = [parameter(v) for v in values]
    optimizer = Lars(parameters, momentum=0.9, weight_decay=decay, trust=1e-3)
    for i, lr in enumerate(lrs):
        optimizer.set_lr(lr)
        for p, g in zip(parameters, gradients, strict=True):
            give(p, g[i])
        optimizer.step()
        optimizer.clear_grad()
    for p, v, g in zip(parameters, values, gradients, strict=True):
        w, velocity = published(v, g, lrs, 0.9, decay, 1e-3)
        np.testing.assert_allclose(p.numpy(), w, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(optimizer.velocity[p.name].numpy(), velocity, rtol=2e-5, atol=1e-6)


def test_a_parameter_without_gradient_stays():
    p, q = parameter(np.ones((2, 2))), parameter(np.ones((2, 2)))
    optimizer = Lars([p, q])
    optimizer.set_lr(1.0)
    give(p, np.ones((2, 2)))
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), 1 - 1e-3, rtol=1e-6)
    assert (q.numpy() == 1).all()


def test_the_velocity_is_restored_under_other_parameter_names():
    def run(p, optimizer, lrs):
        for lr in lrs:
            optimizer.set_lr(lr)
            give(p, np.arange(4.0).reshape(2, 2) + lr)
            optimizer.step()
            optimizer.clear_grad()

    p = parameter(np.ones((2, 2)))
    optimizer = Lars([p])
    run(p, optimizer, [1.0, 2.0])
    q = parameter(p.numpy())
    other = Lars([q])
    other.set_state_dict({key.replace(p.name, q.name): value for key, value in optimizer.state_dict().items()})
    run(p, optimizer, [3.0])
    run(q, other, [3.0])
    assert (p.numpy() == q.numpy()).all()
