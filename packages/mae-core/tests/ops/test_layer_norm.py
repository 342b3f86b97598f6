"""The fused layer norm and the token's gradient against NumPy in float64, and when they step aside."""

import numpy as np
import paddle
import pytest
from paddle import nn

from mae_core.ops import fused
from mae_core.ops.layers import LayerNorm, add_token

pytestmark = pytest.mark.skipif(
    not fused.gemm_library(), reason=f"no fused operators or no matrix products: {fused.why_not()}"
)
EPSILON = 1e-6


def make_case(shape, seed=0):
    """Return x, weight, bias and the result's gradient."""
    rng = np.random.default_rng(seed)
    draw = lambda *size: rng.standard_normal(size).astype("float32")  # noqa: E731
    return 3 + 2 * draw(*shape), 1 + 0.3 * draw(shape[-1]), draw(shape[-1]), draw(*shape)


def make_norm(weight, bias, kind=LayerNorm):
    layer = kind(len(weight), epsilon=EPSILON)
    layer.weight.set_value(weight)
    layer.bias.set_value(bias)
    return layer


def exact(x, weight, bias, grad):
    """Compute result and gradients of x, weight and bias in float64."""
    x, weight, bias, grad = (a.astype("float64") for a in (x, weight, bias, grad))
    inverse = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + EPSILON)
    hat = (x - x.mean(axis=-1, keepdims=True)) * inverse
    g = grad * weight
    grad_x = inverse * (g - g.mean(axis=-1, keepdims=True) - hat * (g * hat).mean(axis=-1, keepdims=True))
    axes = tuple(range(x.ndim - 1))
    return hat * weight + bias, grad_x, (grad * hat).sum(axis=axes), grad.sum(axis=axes)


def run(layer, x, grad):
    x = paddle.to_tensor(x, stop_gradient=False)
    out = layer(x)
    (out * paddle.to_tensor(grad)).sum().backward()
    return [t.numpy() for t in (out, x.grad, layer.weight.grad, layer.bias.grad)]


@pytest.mark.parametrize("shape", [(2, 5, 24), (1, 1, 16), (70, 7), (3, 17, 128), (2, 3, 4, 50)])
def test_equals_float64(shape):
    x, weight, bias, grad = make_case(shape)
    results = run(make_norm(weight, bias), x, grad)
    for got, expected in zip(results, exact(x, weight, bias, grad), strict=True):
        assert np.abs(got - expected).max() <= 2e-6 * np.abs(expected).max()


def test_reference_is_the_stock_layer(monkeypatch):
    x, weight, bias, grad = make_case((3, 5, 40))
    monkeypatch.setenv("MAE_CORE_OPS", "reference")
    ours, stock = (run(make_norm(weight, bias, kind), x, grad) for kind in (LayerNorm, nn.LayerNorm))
    assert all(np.array_equal(a, b) for a, b in zip(ours, stock, strict=True))


def test_frozen_and_without_gradients():
    x, weight, bias, grad = make_case((3, 5, 40))
    layer = make_norm(weight, bias)
    with paddle.no_grad():
        plain = layer(paddle.to_tensor(x))
    layer.weight.stop_gradient = True
    frozen_x = paddle.to_tensor(x)
    out = layer(frozen_x)
    (out * paddle.to_tensor(grad)).sum().backward()
    assert np.array_equal(plain.numpy(), out.numpy())
    assert plain.stop_gradient
    assert layer.weight.grad is None
    assert frozen_x.grad is None
    assert np.allclose(layer.bias.grad.numpy(), grad.sum(axis=(0, 1)), atol=1e-5)


def test_transposed_input():
    x, weight, bias, _ = make_case((4, 6, 32))
    layer = make_norm(weight, bias)
    turned = paddle.to_tensor(x).transpose([1, 0, 2])
    assert np.array_equal(layer(turned).numpy(), layer(turned.contiguous()).numpy())


def test_second_derivative_is_refused():
    x, weight, bias, _ = make_case((2, 3, 16))
    x = paddle.to_tensor(x, stop_gradient=False)
    with pytest.raises(Exception, match="MAE_CORE_OPS=reference for create_graph=True"):
        paddle.grad(make_norm(weight, bias)(x).square().sum(), x, create_graph=True)


def test_token_equals_float64_and_steps_aside(monkeypatch):
    rng = np.random.default_rng(3)
    token, positions = rng.standard_normal((1, 1, 24)), rng.standard_normal((5, 7, 24))
    grad = rng.standard_normal((5, 7, 24)).astype("float32")
    results = []
    for wish in ("auto", "reference"):
        monkeypatch.setenv("MAE_CORE_OPS", wish)
        t = paddle.to_tensor(token.astype("float32"), stop_gradient=False)
        out = add_token(t, paddle.to_tensor(positions.astype("float32")))
        (out * paddle.to_tensor(grad)).sum().backward()
        results.append((out.numpy(), t.grad.numpy()))
        assert t.grad.shape == [1, 1, 24]
        assert np.allclose(t.grad.numpy()[0, 0], grad.astype("float64").sum(axis=(0, 1)), atol=1e-5)
    assert np.array_equal(results[0][0], results[1][0])
