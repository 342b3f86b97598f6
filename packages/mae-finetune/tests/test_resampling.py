"""Resizing and pooling by products equal the operators of PyTorch and Paddle."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from mae_finetune.segmentation.resampling import pool, resize


@pytest.mark.parametrize("size", [(5, 7), (10, 14), (11, 4), (1, 1), (40, 9)])
def test_resizing_is_bilinear(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype("float32")
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), size=size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resize(paddle.to_tensor(x), size).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 6, 9])
def test_pooling_is_adaptive(side):
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 5, 8)).astype("float32"))
    np.testing.assert_allclose(pool(x, side).numpy(), F.adaptive_avg_pool2d(x, side).numpy(), rtol=1e-5, atol=1e-6)


def test_the_type_stays():
    x = paddle.ones([1, 2, 4, 4], dtype="float64")
    assert resize(x, (8, 8)).dtype == pool(x, 3).dtype == paddle.float64
