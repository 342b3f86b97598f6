"""Mixing on the device, against timm's semantics written out as loops in float64."""

import numpy as np
import paddle
import pytest

from mae_data.transforms.mix_on_device import mix_images, normalize_images, soft_targets
from mae_data.transforms.mixup import Mixture, Mixup, draw_mixture, mixing_rng

SIZE = (20, 50)  # height and width differ, so that swapping them shows
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_mixture(mode, count):
    return draw_mixture(Mixup(mode=mode, prob=0.8), count, SIZE, mixing_rng(3, count, 0))


def mix_by_loop(images, mixture):
    mixed = images.copy()
    for i in range(len(images)):
        k = i if len(mixture.weight) > 1 else 0
        partner, weight = images[len(images) - 1 - i], float(mixture.weight[k])
        mixed[i] = weight * images[i] + (1 - weight) * partner
        top, left, bottom, right = mixture.boxes[k]
        mixed[i][:, top:bottom, left:right] = partner[:, top:bottom, left:right]
    return mixed


MIXTURES = {
    "mixup": Mixture(np.array([0.3], np.float32), np.zeros((1, 4), np.int64), np.array([0.3], np.float32)),
    "cutmix": Mixture(np.ones(1, np.float32), np.array([[2, 30, 11, 50]]), np.array([0.82], np.float32)),
    "elem": random_mixture("elem", 12),
    "pair": random_mixture("pair", 12),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_images_are_normalised_then_mixed(name):
    pixels = np.random.default_rng(1).integers(0, 256, (12, *SIZE, 3), dtype=np.uint8)
    normalised = normalize_images(paddle.to_tensor(pixels), MEAN, STD)
    wanted = ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    assert normalised.dtype == paddle.float32
    np.testing.assert_allclose(normalised.numpy(), wanted, rtol=0, atol=1e-6)
    mixed = mix_images(normalised, MIXTURES[name])
    assert mixed.dtype == paddle.float32
    np.testing.assert_allclose(mixed.numpy(), mix_by_loop(wanted, MIXTURES[name]), rtol=0, atol=2e-6)
    # It commutes with normalising: pixels mixed first give the same.
    first = mix_by_loop(pixels.astype(np.float64).transpose(0, 3, 1, 2), MIXTURES[name])
    first = (first.transpose(0, 2, 3, 1) / 255 - MEAN) / STD
    np.testing.assert_allclose(mixed.numpy(), first.transpose(0, 3, 1, 2), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", MIXTURES)
def test_floats_as_stored_are_mixed_channels_last(name):
    images = np.random.default_rng(2).normal(size=(12, *SIZE, 5)).astype(np.float32)
    expected = mix_images(paddle.to_tensor(images.transpose(0, 3, 1, 2)), MIXTURES[name]).numpy()
    mixed = mix_images(paddle.to_tensor(images), MIXTURES[name], channels_last=True).numpy()
    np.testing.assert_array_equal(mixed, expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(("value_range", "low", "high"), [(65535, 0, 65535), (10000, 0, 10000), ([-3.0, 5.0], -3, 5)])
def test_other_ranges_are_normalised(value_range, low, high):
    unit = np.random.default_rng(1).random((2, 6, 4, 5))
    mean, std = np.linspace(0.2, 0.6, 5), np.linspace(0.1, 0.3, 5)
    stored = unit * (high - low) + low
    stored = stored.astype(np.float32) if low else np.rint(stored).astype(np.uint16)
    given = stored if low else stored.view(np.int16)  # as the loader gives them
    exact = ((stored.astype(np.float64) - low) / (high - low) - mean) / std
    got = normalize_images(paddle.to_tensor(given), mean, std, value_range).numpy()
    np.testing.assert_allclose(got, exact.transpose(0, 3, 1, 2), rtol=0, atol=3e-6)


def test_cutmix_moves_values_untouched():
    images = np.random.default_rng(1).normal(size=(4, 1, *SIZE)).astype(np.float32)
    mixed = mix_images(paddle.to_tensor(images), MIXTURES["cutmix"]).numpy()
    np.testing.assert_array_equal(mixed, mix_by_loop(images, MIXTURES["cutmix"]))
    assert (mixed[0, 0, 2:11, 30:50] == images[3, 0, 2:11, 30:50]).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", [None, *MIXTURES])
def test_targets_are_those_of_timm(name, smoothing):
    labels, mixture = np.arange(12) * 5 % 7, MIXTURES.get(name)
    off, on = smoothing / 7, 1 - smoothing + smoothing / 7
    own = np.full((12, 7), off)
    own[np.arange(12), labels] = on
    lam = np.ones((1, 1)) if mixture is None else mixture.lam.astype(np.float64)[:, None]
    wanted = lam * own + (1 - lam) * own[::-1]
    got = soft_targets(paddle.to_tensor(labels), 7, smoothing=smoothing, mixture=mixture)
    assert got.dtype == paddle.float32
    np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=2e-7)
    np.testing.assert_allclose(got.numpy().sum(axis=1), 1, atol=1e-6)
