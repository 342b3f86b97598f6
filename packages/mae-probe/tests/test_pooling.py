"""What `--pool` chooses from, against plain loops over tokens, and what cannot be pooled so."""

import numpy as np
import paddle
import pytest

from mae_core import build_model
from mae_core.errors import UserError
from mae_core.models import VisionTransformer
from mae_probe import features
from mae_probe.extraction.pooling import POOLS, pooled

SIZES = {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}


def images(height=16, width=16):
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def tokens_by_place(model, x):
    """Return the class token [N, D] and patch tokens [N, rows, columns, D]."""
    tokens = model.norm(model.encode(model.normalize(model.patchify(paddle.to_tensor(x))))).numpy()
    return tokens[:, 0], tokens[:, 1:].reshape(len(x), *model.grid, -1)


def test_each_pool_is_that_of_plain_loops():
    paddle.seed(0)
    model = VisionTransformer(num_classes=0, global_pool=False, img_size=(16, 32), **SIZES)
    model.eval()
    x = images(16, 32)
    first, placed = tokens_by_place(model, x)
    found = {pool: pooled(model, paddle.to_tensor(x), pool).numpy() for pool in POOLS}
    np.testing.assert_array_equal(found["class"], first)
    np.testing.assert_allclose(found["mean"], placed.mean(axis=(1, 2)), atol=1e-6)
    for side in (2, 4):
        rows, columns = 4 // side, 8 // side
        parts = [
            placed[:, rows * i : rows * (i + 1), columns * j : columns * (j + 1)].mean(axis=(1, 2))
            for i in range(side)
            for j in range(side)
        ]
        np.testing.assert_allclose(found[f"grid{side}"], np.concatenate(parts, axis=1), atol=1e-6)


def test_a_grid_that_does_not_divide_the_patches_shares_some():
    model = VisionTransformer(num_classes=0, global_pool=False, img_size=12, **SIZES)
    model.eval()
    _, placed = tokens_by_place(model, images(12, 12))  # 3 x 3: the middle row is in both halves
    found = pooled(model, paddle.to_tensor(images(12, 12)), "grid2").numpy()
    np.testing.assert_allclose(found[:, :8], placed[:, :2, :2].mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found[:, 24:], placed[:, 1:, 1:].mean(axis=(1, 2)), atol=1e-6)
    with pytest.raises(UserError, match="grid4 needs 4 x 4 patches, the model has 3 x 3"):
        pooled(model, paddle.to_tensor(images(12, 12)), "grid4")


def test_a_classifier_of_means_norms_each_of_them():
    model = VisionTransformer(num_classes=2, global_pool=True, img_size=16, **SIZES)
    model.fc_norm.weight.set_value(paddle.arange(8, dtype="float32"))
    model.eval()
    x = paddle.to_tensor(images())
    np.testing.assert_allclose(pooled(model, x, "mean").numpy(), model.forward_features(x).numpy(), atol=1e-5)
    _, placed = tokens_by_place(model, images())
    quarter = model.fc_norm(paddle.to_tensor(placed[:, 2:, :2].mean(axis=(1, 2)))).numpy()
    np.testing.assert_allclose(pooled(model, x, "grid2").numpy()[:, 16:24], quarter, atol=1e-5)
    with pytest.raises(UserError, match="the class token has no norm"):
        pooled(model, x, "class")
    found = features(model, list(images()), crop_pct=1.0)  # asked for nothing
    np.testing.assert_allclose(found, model.forward_features(x).numpy(), atol=1e-5)


def test_features_of_images_take_the_grids():
    model = build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)
    assert features(model, list(images(32, 32)), pool="grid2").shape == (3, 4 * 192)
    with pytest.raises(UserError, match="class, mean, grid2, grid4"):
        features(model, list(images(32, 32)), pool="grid3")
