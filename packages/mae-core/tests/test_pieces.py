"""Small pieces against values computed by hand or in NumPy."""

import math

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401  (prepares the runtime before Paddle)
from mae_core.models.transformer import sincos_pos_embed
from mae_core.ops import patch_targets
from mae_core.ops.layers import Linear
from mae_core.ops.patches import patchify, pixel_statistics, unpatchify
from mae_core.training import meters
from mae_core.training.optim import scaled_lr, warmup_cosine


def test_positions_are_column_then_row_each_sines_then_cosines():
    table = sincos_pos_embed(8, (2, 3))  # 2 frequencies: 1 and 1/100
    assert table.shape == (7, 8)
    assert table.dtype == np.float32
    assert not table[0].any()  # the class token
    for row in range(2):
        for column in range(3):
            wanted = [
                wave(place * frequency)
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for frequency in (1, 0.01)
            ]
            assert abs(table[1 + row * 3 + column] - wanted).max() < 1e-7


def test_imagenets_statistics_are_for_three_channels_only():
    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert pixel_statistics(3, *map(list, imagenet)) == imagenet
    assert pixel_statistics(1, *imagenet) == ((0.5,), (0.5,))
    assert pixel_statistics(1, [0.1], [0.2]) == ((0.1,), (0.2,))


@pytest.mark.parametrize(("p", "chans", "grid"), [(4, 3, (2, 3)), (7, 1, (1, 2)), (2, 5, (3, 1))])
def test_patchify_order_and_round_trip(p, chans, grid):
    height, width = grid[0] * p, grid[1] * p
    images = np.random.default_rng(0).standard_normal((2, chans, height, width)).astype("float32")
    patches = patchify(paddle.to_tensor(images), p)
    for patch in range(grid[0] * grid[1]):
        i, j = divmod(patch, grid[1])
        for y, x, c in [(0, 0, 0), (p - 1, 0, chans - 1), (1, p - 1, 0)]:
            np.testing.assert_array_equal(
                patches.numpy()[:, patch, (y * p + x) * chans + c], images[:, c, i * p + y, j * p + x]
            )
    np.testing.assert_array_equal(unpatchify(patches, p, grid).numpy(), images)


def test_patchify_takes_bytes_with_channels_last():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    from_bytes = patchify(paddle.to_tensor(images), 4)
    assert from_bytes.dtype == paddle.uint8
    from_floats = patchify(paddle.to_tensor(images.transpose(0, 3, 1, 2).astype("float32")), 4)
    np.testing.assert_array_equal(from_bytes.numpy().astype("float32"), from_floats.numpy())


def test_targets_use_the_unbiased_variance():
    x = np.random.default_rng(0).standard_normal((2, 5, 12)).astype("float32") * 3 + 1
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(patch_targets(paddle.to_tensor(x), True).numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(patch_targets(paddle.to_tensor(x), False).numpy(), x)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients_match_numpy(bias):
    rng = np.random.default_rng(0)
    layer, x = Linear(6, 4, bias=bias), rng.standard_normal((3, 5, 6)).astype("float32")
    grad = rng.standard_normal((3, 5, 4)).astype("float32")
    tensor = paddle.to_tensor(x, stop_gradient=False)
    y = layer(tensor)
    (y * paddle.to_tensor(grad)).sum().backward()
    weight = layer.weight.numpy()
    np.testing.assert_allclose(y.numpy(), x @ weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tensor.grad.numpy(), grad @ weight.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.weight.grad.numpy(), np.einsum("nli,nlo->io", x, grad), rtol=1e-5, atol=1e-5)
    if bias:
        np.testing.assert_allclose(layer.bias.grad.numpy(), grad.sum((0, 1)), rtol=1e-5, atol=1e-5)


def test_schedule_against_the_closed_form():
    at = lambda epoch: warmup_cosine(epoch, lr=2.0, min_lr=0.5, warmup_epochs=4, epochs=12)  # noqa: E731
    assert [at(0), at(1), at(4), at(8), at(12)] == pytest.approx([0.0, 0.5, 2.0, 1.25, 0.5])
    assert at(6) == pytest.approx(0.5 + 1.5 * (1 + math.cos(math.pi / 4)) / 2)
    assert at(20) == pytest.approx(0.5)
    assert warmup_cosine(0, lr=1.0, min_lr=0.0, warmup_epochs=0, epochs=1) == 1.0
    assert scaled_lr(1.5e-4, 4096) == pytest.approx(2.4e-3)


def test_speeds_are_those_of_the_interval_without_what_is_left_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: now[0])
    meter = meters.IntervalMeter()
    meter.add({"loss": 3.0}, 8, 0.5)
    meter.add({"loss": 1.0}, 4, 0.5)
    now[0] += 14.0
    meter.exclude(10.0)  # a validation
    assert meter.means() == {"loss": 2.0}
    assert meter.speeds() == {"images_per_s": 3.0, "data_wait": 0.25, "s_per_step": 2.0}
    resumed = meters.IntervalMeter()
    resumed.load(meter.state())
    resumed.add({"loss": 8.0}, 6, 0.0)
    now[0] += 2.0
    assert resumed.means() == {"loss": 4.0}
    assert resumed.speeds() == {"images_per_s": 3.0, "data_wait": 0.0, "s_per_step": 2.0}
    resumed.reset()
    assert (resumed.means(), resumed.speeds()["images_per_s"]) == ({}, 0.0)
