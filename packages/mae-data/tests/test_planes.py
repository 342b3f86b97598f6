"""Images of any channels and depth against float64 arithmetic, and against Pillow where Pillow has them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_data.images.native_code import resized
from mae_data.images.value_range import EIGHT_BITS, Planes, as_value_range
from mae_data.transforms.pipelines import (
    make_eval_transform,
    make_finetune_transform,
    make_pretrain_transform,
    make_probe_transform,
)
from mae_data.transforms.random_erasing import RandomErasing, draw_noise

_SPEC = importlib.util.spec_from_file_location("bicubic", Path(__file__).with_name("bicubic.py"))
bicubic = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bicubic)

RNG = np.random.default_rng


def draw(shape, value_range, seed=0):
    limits = as_value_range(value_range)
    unit = RNG(seed).random(shape) * limits.span + limits.low
    return Planes((unit if limits.is_float else np.rint(unit)).astype(limits.dtype), limits)


@pytest.mark.parametrize("channels", [1, 2, 5, 13])
@pytest.mark.parametrize("value_range", [65535, 10000, [-3.0, 7.5]])
@pytest.mark.parametrize("size", [(9, 31), (40, 8), (17, 23)])
def test_resizing_is_exact(channels, value_range, size):
    image = draw((23, 17, channels), value_range)
    got = image.resized((0, 0, 23, 17), size[::-1])
    limits = image.limits
    exact = bicubic.resize(image.pixels, size).clip(limits.low, limits.high)
    assert got.dtype == image.pixels.dtype
    # Integers: half a step and what float32 leaves of 16 bits between the two passes.
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-6 * limits.span if limits.is_float else 0.5 + 0.01)
    if size == (17, 23):
        np.testing.assert_array_equal(got, image.pixels)


def test_edges_overshoot_no_end_of_the_range():
    step = np.zeros((8, 8, 1), np.uint16)
    step[:, 4:] = 4000
    enlarged = Planes(step, as_value_range(4000)).resized((0, 0, 8, 8), (32, 32))
    assert bicubic.resize(step, (32, 32)).max() > 4100
    assert (enlarged.min(), enlarged.max()) == (0, 4000)


def test_8_bit_channels_are_those_of_a_pillow_image():
    pixels = RNG(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
    for size in ((11, 50), (40, 9)):
        box, window = (3, 2, 28, 17), (1, 2, size[0] - 3, size[1] - 4)
        expected = resized(Image.fromarray(pixels), box, size, window, flip=True)
        np.testing.assert_array_equal(Planes(pixels, EIGHT_BITS).resized(box, size, window, flip=True), expected)


TRANSFORMS = {
    "pretrain": make_pretrain_transform(image_size=(16, 12)),
    "probe": make_probe_transform(image_size=16),
    "eval": make_eval_transform(image_size=16),
    "finetune": make_finetune_transform(image_size=16, mean=[0.5] * 3, std=[0.2] * 3, rand_augment=None, reprob=1.0),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_do_to_planes_what_they_do_to_pillow_images(name):
    """The same crop, flip and boxes: 16 bits are 8 bits in finer steps."""
    pixels = RNG(3).integers(80, 176, (40, 30, 3), dtype=np.uint8)
    wide = Planes(pixels.astype(np.uint16) * 257, as_value_range(65535))
    for seed in range(8):
        picture = TRANSFORMS[name](Image.fromarray(pixels), RNG(seed))
        planes = TRANSFORMS[name](wide, RNG(seed))
        assert (picture.dtype, planes.dtype) == (np.uint8, np.uint16)
        assert planes.flags.c_contiguous
        assert planes.shape == picture.shape
        # Pillow rounds 8 bits after each of the two passes (and clips them, which these do not need).
        np.testing.assert_allclose(planes / 257, picture, atol=1.3)
        np.testing.assert_array_equal(TRANSFORMS[name](Planes(pixels, EIGHT_BITS), RNG(seed)), picture)


def test_rand_augment_is_refused():
    with pytest.raises(ValueError, match=r"mean=.*8-bit images of 1 or 3 channels"):
        make_finetune_transform(image_size=8, mean=[0.5] * 5, std=[0.2] * 5)
    transform = make_finetune_transform(image_size=8, mean=[0.5] * 3, std=[0.2] * 3)
    with pytest.raises(ValueError, match="RandAugment is made for 8-bit"):
        transform(draw((9, 9, 3), 65535), RNG(0))


@pytest.mark.parametrize("value_range", [255, 65535, [-2.0, 6.0]])
def test_erased_pixels_are_normal_in_the_unit_of_the_model(value_range):
    limits = as_value_range(value_range)
    mean, std = (0.5, 0.4), (0.1, 0.08)
    noise = draw_noise((300, 300), mean, std, RNG(0), limits)
    assert noise.dtype == limits.dtype
    unit = (noise.astype(np.float64) - limits.low) / limits.span
    np.testing.assert_allclose((unit.mean((0, 1)) - mean) / std, 0, atol=0.02)
    np.testing.assert_allclose(unit.std((0, 1)) / std, 1, atol=0.01)
    image = draw((30, 30, 2), value_range).pixels
    before = image.copy()
    RandomErasing(prob=1.0)(image, mean, std, RNG(1), limits)
    assert 10 < (image != before).any(axis=-1).sum() < 400


@pytest.mark.parametrize("given", [0, -1, 65536, 1.5, True, [1], [1, 1], [2, 1], [0, float("inf")], "255", None])
def test_what_is_no_range_is_refused(given):
    with pytest.raises(ValueError, match="give the white of integers"):
        as_value_range(given)
