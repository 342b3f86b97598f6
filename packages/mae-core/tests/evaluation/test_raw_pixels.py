"""Raw pixels as features, against NumPy."""

import numpy as np
import paddle

from mae_core.evaluation.raw_pixels import pixel_features


def test_raw_pixels_are_the_means_of_blocks():
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    found = pixel_features(paddle.to_tensor(images)).numpy().reshape(2, 3, 32, 21)
    whole = images.astype(np.float64).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found[1, 2, 5, 0], whole[1, 2, 15:18, 0:4].mean(), atol=1e-4)  # 64 / 21 columns: 0 to 3
    small = images[:, :16, :16]
    expected = small.transpose(0, 3, 1, 2).reshape(2, -1)
    np.testing.assert_allclose(pixel_features(paddle.to_tensor(small)).numpy(), expected, atol=1e-7)


def test_light_pixels_of_16_bits_are_not_below_zero():
    """int16 holds the bits of uint16, which Paddle lacks."""
    images = np.array([40000, 65535, 7, 32768], np.uint16).reshape(1, 2, 2, 1)
    found = pixel_features(paddle.to_tensor(images.view(np.int16))).numpy()
    np.testing.assert_array_equal(found, [[40000, 65535, 7, 32768]])
