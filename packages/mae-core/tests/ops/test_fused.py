"""The fused operators against NumPy: ids and gathered values exactly, arithmetic to a few units in the last place."""

import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest

from mae_core.ops import MaskKey, Pixels, draw_masking, fused, masked_pixel_loss, masking_noise, random_masking
from mae_core.ops.reference import masked_pixel_loss as reference_loss

needs_build = pytest.mark.skipif(not fused.LOADED, reason=f"fused operators: {fused.why_not()}")
LENGTHS = [2, 31, 33, 196, 1024, 1500]


def test_the_operators_are_built_where_a_compiler_is():
    assert fused.LOADED or shutil.which("g++") is None, fused.why_not()


def make_pixels(p, chans):
    rng = np.random.default_rng(chans)
    return Pixels(p, *(paddle.to_tensor(rng.random(chans, dtype="float32") + 0.1) for _ in range(2)))


def numpy_patches(images, p):
    """Patches [N, L, p*p*C] of [N, H, W, C], loop by loop."""
    n, height, width, _ = images.shape
    rows = [images[:, y : y + p, x : x + p].reshape(n, -1) for y in range(0, height, p) for x in range(0, width, p)]
    return np.stack(rows, axis=1)


@needs_build
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_kept_tokens_are_the_same_bits(length, dtype):
    rng = np.random.default_rng(length)
    keep = max(1, length // 4)
    noise = rng.integers(0, max(2, length // 2), (3, length)).astype("float32")  # with ties
    x = paddle.to_tensor(rng.standard_normal((3, length, 5)).astype("float32")).astype(dtype)
    visible, m = random_masking(x, 1 - (keep + 0.5) / length, noise=paddle.to_tensor(noise))
    order = np.argsort(noise, axis=1, kind="stable")
    np.testing.assert_array_equal(m.ids_keep.numpy(), order[:, :keep])
    np.testing.assert_array_equal(m.ids_remove.numpy().reshape(3, -1), order[:, keep:])
    np.testing.assert_array_equal(m.ids_restore.numpy(), np.argsort(order, axis=1))
    np.testing.assert_array_equal(m.mask.numpy(), np.argsort(order, axis=1) >= keep)
    assert visible.dtype == x.dtype
    expected = np.take_along_axis(x.astype("float32").numpy(), order[:, :keep, None], axis=1)
    np.testing.assert_array_equal(visible.astype("float32").numpy(), expected)


@needs_build
@pytest.mark.parametrize("values", [[0.0, -0.0, 1.0], [np.nan, 1.0, -1.0], [np.inf, -np.inf, 0.5], [np.nan, np.nan, 0]])
def test_any_noise_gives_a_permutation_in_numpy_order(values):
    noise = np.array([values], dtype="float32")
    m = draw_masking(paddle.to_tensor(noise), 0.5)
    order = np.concatenate([m.ids_keep.numpy(), m.ids_remove.numpy()], axis=1)
    np.testing.assert_array_equal(order, np.argsort(noise, axis=1, kind="stable"))


@needs_build
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (2**32 + 5, 799), (2**64 - 1, 2**32 - 1)])
def test_noise_drawn_by_the_kernel_is_that_of_python(seed, epoch):
    index = np.array([0, 7, 2**40 + 3], dtype="int64")
    drawn = draw_masking(MaskKey(seed, epoch, paddle.to_tensor(index)), 0.75, length=197)
    given = draw_masking(paddle.to_tensor(masking_noise(seed, epoch, index, 197)), 0.75)
    for a, b in zip(drawn, given, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@needs_build
@pytest.mark.parametrize(
    ("p", "chans", "height", "width"), [(16, 3, 64, 48), (4, 1, 8, 20), (7, 5, 21, 14), (1, 2, 3, 5)]
)
def test_kept_pixels_are_normalised(p, chans, height, width):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, height, width, chans), dtype=np.uint8)
    pixels = make_pixels(p, chans)
    noise = rng.random((3, height // p * (width // p)), dtype="float32")
    visible, m = random_masking(paddle.to_tensor(images), 0.6, noise=paddle.to_tensor(noise), pixels=pixels)
    repeat = p * p
    exact = numpy_patches(images.astype("float64"), p) * np.tile(pixels.scale.numpy(), repeat).astype("float64")
    exact += np.tile(pixels.shift.numpy(), repeat)
    expected = np.take_along_axis(exact, m.ids_keep.numpy()[:, :, None], axis=1)
    np.testing.assert_allclose(visible.numpy(), expected, rtol=3e-7)

    floats = paddle.to_tensor(rng.standard_normal((3, chans, height, width)).astype("float32"))
    for x in (floats, floats.astype("float16")):
        visible, m = random_masking(x, 0.6, noise=paddle.to_tensor(noise), pixels=pixels)
        patches = numpy_patches(x.numpy().transpose(0, 2, 3, 1), p)
        expected = np.take_along_axis(patches, m.ids_keep.numpy()[:, :, None], axis=1)
        np.testing.assert_array_equal(visible.numpy(), expected)


def stored_images(kind, shape, seed=0):
    """Draw images as a model gets them, their values in float64, and how they are normalised."""
    rng = np.random.default_rng(seed)
    span = 65535.0 if kind in ("uint16", "int32") else 20.0
    low = -5.0 if kind == "float32" else 0.0
    values = rng.integers(0, 65536, shape) if span > 20 else rng.uniform(low, low + span, shape).astype("float32")
    mean, std = rng.uniform(0.3, 0.6, shape[-1]), rng.uniform(0.1, 0.3, shape[-1])
    scale, shift = 1 / (span * std), -(mean + low / span) / std
    given = values.astype("uint16").view("int16") if kind == "uint16" else values.astype(kind)
    tensors = (paddle.to_tensor(x.astype("float32")) for x in (scale, shift))
    normalised = values.astype("float64") * scale + shift
    return paddle.to_tensor(given), normalised, lambda p: Pixels(p, *tensors, low, span, kind == "float32")


@pytest.mark.parametrize("ops", ["auto", "reference"])
@pytest.mark.parametrize("kind", ["uint16", "float32", "int32"])
@pytest.mark.parametrize(("p", "chans", "height", "width"), [(16, 5, 64, 48), (4, 1, 8, 20), (3, 13, 9, 6)])
def test_pixels_of_other_types_are_normalised(monkeypatch, ops, kind, p, chans, height, width):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    images, normalised, pixels = stored_images(kind, (3, height, width, chans))
    pixels = pixels(p)
    noise = np.random.default_rng(1).random((3, height // p * (width // p)), dtype="float32")
    visible, m = random_masking(images, 0.6, noise=paddle.to_tensor(noise), pixels=pixels)
    expected = np.take_along_axis(numpy_patches(normalised, p), m.ids_keep.numpy()[:, :, None], axis=1)
    assert visible.dtype == paddle.float32
    np.testing.assert_allclose(visible.numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("ops", ["auto", "reference"])
@pytest.mark.parametrize("norm_pix", [True, False])
@pytest.mark.parametrize("kind", ["uint16", "float32", "int32"])
def test_loss_of_other_types_matches_numpy_float64(monkeypatch, ops, norm_pix, kind):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    p, chans = 4, 5
    images, normalised, pixels = stored_images(kind, (2, 16, 12, chans))
    rng = np.random.default_rng(2)
    ids = np.stack([rng.permutation(12)[:7] for _ in range(2)])
    pred = rng.standard_normal((2, 7, p * p * chans)).astype("float32")
    target = numpy_patches(normalised, p)
    if norm_pix:
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    error = pred - np.take_along_axis(target, ids[:, :, None], axis=1)
    tensor = paddle.to_tensor(pred, stop_gradient=False)
    loss = masked_pixel_loss(tensor, images, paddle.to_tensor(ids), pixels(p), norm_pix)
    loss.backward()
    assert float(loss) == pytest.approx((error**2).mean(), rel=2e-6)
    np.testing.assert_allclose(tensor.grad.numpy(), 2 * error / error.size, rtol=2e-5, atol=1e-8)


@needs_build
def test_uint16_gives_the_bits_of_uint8_where_both_can():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    pixels, noise = make_pixels(4, 3), paddle.rand([2, 16])
    both = paddle.to_tensor(images), paddle.to_tensor(images.astype(np.uint16).view(np.int16))
    (first, m), (second, _) = (random_masking(x, 0.5, noise=noise, pixels=pixels) for x in both)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    pred = paddle.rand([2, 8, 48])
    losses = [float(masked_pixel_loss(pred, x, m.ids_remove, pixels)) for x in both]
    assert losses[0] == losses[1]


@needs_build
def test_gradient_of_tokens_returns_where_they_came_from():
    x = paddle.rand([3, 50, 8])
    x.stop_gradient = False
    visible, m = random_masking(x, 0.75)
    weight = paddle.rand(visible.shape)
    (visible * weight).sum().backward()
    expected = np.zeros([3, 50, 8], dtype="float32")
    np.put_along_axis(expected, m.ids_keep.numpy()[:, :, None], weight.numpy(), axis=1)
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@needs_build
@pytest.mark.parametrize("norm_pix", [True, False])
@pytest.mark.parametrize("source", ["uint8", "float32"])
@pytest.mark.parametrize(("p", "chans"), [(16, 3), (4, 1), (3, 5)])
def test_loss_and_gradient_match_numpy_float64(norm_pix, source, p, chans):
    rng = np.random.default_rng(1)
    shape = (2, 4 * p, 3 * p, chans)
    images = rng.integers(0, 256, shape, dtype=np.uint8) if source == "uint8" else rng.standard_normal(shape)
    pixels, ids = make_pixels(p, chans), np.stack([rng.permutation(12)[:7] for _ in range(2)])
    pred = rng.standard_normal((2, 7, p * p * chans)).astype("float32")
    target = numpy_patches(images.astype("float64"), p)
    if source == "uint8":
        target = target * np.tile(pixels.scale.numpy(), p * p) + np.tile(pixels.shift.numpy(), p * p)
    if norm_pix:
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    error = pred - np.take_along_axis(target, ids[:, :, None], axis=1)
    given = paddle.to_tensor(images if source == "uint8" else images.transpose(0, 3, 1, 2).astype("float32"))
    tensor = paddle.to_tensor(pred, stop_gradient=False)
    loss = masked_pixel_loss(tensor, given, paddle.to_tensor(ids), pixels, norm_pix)
    (loss * 3.0).backward()
    assert loss.shape == []
    assert float(loss) == pytest.approx((error**2).mean(), rel=1e-6)
    np.testing.assert_allclose(
        tensor.grad.numpy(), 6.0 * error / error.size, rtol=2e-5, atol=1e-6 * np.abs(error).max() / error.size
    )


@pytest.mark.parametrize("ops", [pytest.param("fused", marks=needs_build), "reference"])
@pytest.mark.parametrize(("p", "chans"), [(16, 3), (14, 1), (3, 5)])
def test_the_target_of_a_flat_patch_is_zero(ops, p, chans, monkeypatch):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    rng = np.random.default_rng(0)
    pixels = Pixels(p, *(paddle.full([chans], float(value)) for value in (1 / 58.4, -2.117904)))
    nearly = np.repeat(np.arange(256, dtype=np.uint8), p * p * chans).reshape(256, p, p, chans)
    nearly[128:, rng.integers(p), rng.integers(p)] ^= 1  # a step of 8 bits in one place
    pred = paddle.zeros([256, 1, p * p * chans])
    pred.stop_gradient = False
    masked_pixel_loss(pred, paddle.to_tensor(nearly), paddle.zeros([256, 1], "int64"), pixels).backward()
    target = -pred.grad.numpy()[:, 0] * (pred.size / 2)
    assert np.abs(target[:128]).max() <= 1e-6
    exact = (nearly[128:].reshape(128, -1) / 58.4).astype(np.float64)
    exact = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(target[128:], exact, rtol=3e-5, atol=4e-4)


@needs_build
def test_a_wrong_id_is_refused_and_nothing_crashes():
    pixels = make_pixels(4, 1)
    images = paddle.zeros([1, 8, 8, 1], dtype="uint8")
    for wrong in (-1, 4, 2**40):
        ids = paddle.to_tensor([[0, wrong]])
        with pytest.raises(Exception, match="outside \\[0, L\\)"):
            masked_pixel_loss(paddle.zeros([1, 2, 16]), images, ids, pixels)


@needs_build
def test_strided_tensors_are_read_in_their_order():
    rng = np.random.default_rng(0)
    whole = paddle.to_tensor(rng.standard_normal((4, 6, 20)).astype("float32"))
    for view in (whole.transpose([1, 2, 0]), whole[:, :, ::2], whole[::2]):
        noise = paddle.rand([view.shape[1], view.shape[0]]).t()
        visible, m = random_masking(view, 0.5, noise=noise)
        expected = np.take_along_axis(view.numpy(), m.ids_keep.numpy()[:, :, None], axis=1)
        np.testing.assert_array_equal(visible.numpy(), expected)
        np.testing.assert_array_equal(m.ids_restore.numpy().argsort(1), noise.numpy().argsort(1))


BAD = [
    (lambda: random_masking(paddle.zeros([2, 3])), "tokens have shape"),
    (lambda: random_masking(paddle.zeros([2, 0, 3])), "tokens have shape"),
    (lambda: random_masking(paddle.zeros([2, 4, 3]), 1.0), "outside \\[0, 1\\)"),
    (lambda: random_masking(paddle.zeros([2, 4, 3]), -0.5), "outside \\[0, 1\\)"),
    (lambda: random_masking(paddle.zeros([2, 4, 3]), noise=paddle.zeros([2, 5])), "noise has shape"),
    (lambda: random_masking(paddle.zeros([2, 4, 3]), noise=paddle.zeros([1, 4])), "noise has shape"),
    (lambda: random_masking(paddle.zeros([2, 4, 3]), noise=MaskKey(0, 0, paddle.arange(3))), "sample numbers"),
    (lambda: random_masking(paddle.zeros([2, 9, 8, 1], "uint8"), pixels=make_pixels(4, 1)), "images have shape"),
    (lambda: random_masking(paddle.zeros([2, 8, 8, 3], "uint8"), pixels=make_pixels(4, 1)), "images have shape"),
    (lambda: draw_masking(MaskKey(0, 0, paddle.arange(3))), "length"),
    (
        lambda: masked_pixel_loss(
            paddle.zeros([1, 2, 15]),
            paddle.zeros([1, 8, 8, 1], "uint8"),
            paddle.zeros([1, 2], "int64"),
            make_pixels(4, 1),
        ),
        "pred has shape",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_what_does_not_fit_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_image_gradient_goes_through_the_plain_operations():
    images = paddle.rand([1, 1, 8, 8])
    images.stop_gradient = False
    visible, m = random_masking(images, 0.5, pixels=make_pixels(4, 1))
    visible.sum().backward()
    expected = np.kron(1.0 - m.mask.numpy().reshape(2, 2), np.ones((4, 4)))
    np.testing.assert_array_equal(images.grad.numpy()[0, 0], expected)


@needs_build
def test_loss_equals_the_reference_in_16_bit_on_this_device():
    pixels, images = make_pixels(4, 1), paddle.randint(0, 256, [2, 8, 8, 1]).astype("uint8")
    ids = paddle.to_tensor([[0, 3], [1, 2]])
    pred = paddle.rand([2, 2, 16]).astype("bfloat16")
    fused_loss = masked_pixel_loss(pred, images, ids, pixels)
    assert float(fused_loss) == pytest.approx(float(reference_loss(pred, images, ids, pixels, True)), rel=1e-5)


def run_report(**env):
    command = [sys.executable, "-m", "mae_core.ops"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})


@needs_build
def test_the_report_names_the_library_and_the_choice():
    done = run_report(MAE_CORE_OPS="auto")
    assert done.returncode == 0
    assert f"fused ({fused.own_library_name()})" in done.stdout
    done = run_report(MAE_CORE_OPS="reference")
    assert (done.returncode, "reference (MAE_CORE_OPS)" in done.stdout) == (1, True)


def test_a_wrong_choice_is_refused():
    done = run_report(MAE_CORE_OPS="fast")
    assert done.returncode == 2
    assert "error: MAE_CORE_OPS=fast; use one of auto, fused, reference" in done.stderr
    assert "Traceback" not in done.stderr


def test_fused_without_a_library_names_the_command(monkeypatch):
    monkeypatch.setenv("MAE_CORE_OPS", "fused")
    monkeypatch.setattr(fused, "LOADED", False)
    with pytest.raises(Exception, match="build it: mae-core build"):
        fused.in_use()
