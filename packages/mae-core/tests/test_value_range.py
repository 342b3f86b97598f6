"""Models of other value ranges see what a model of 8 bits sees of the same scene."""

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.ops.patches import denormalize_patches, unit_patches

assert mae_core  # before Paddle's own start
SIZES = {"img_size": 8, "patch_size": 4, "in_chans": 5, "embed_dim": 8, "depth": 1, "num_heads": 2}
DECODER = {"decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2}
STATISTICS = {"pixel_mean": [0.3, 0.4, 0.5, 0.6, 0.7], "pixel_std": [0.1, 0.2, 0.3, 0.2, 0.1]}
BYTES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 5), dtype=np.uint8)
# The same scene, in other units: 257 steps of 16 bits are one of 8.
SCENES = {
    65535: (BYTES.astype(np.uint16) * 257).view(np.int16),
    (0.0, 1.0): BYTES.astype(np.float32) / 255,
    (-3.0, 48.0): BYTES.astype(np.float32) / 5 - 3,
}


def build(kind, value_range):
    paddle.seed(3)
    return kind(**SIZES, **STATISTICS, value_range=value_range, **(DECODER if kind is MaskedAutoencoderViT else {}))


@pytest.mark.parametrize("value_range", SCENES)
def test_a_scene_is_the_same_in_any_unit(value_range):
    images, noise = paddle.to_tensor(SCENES[value_range]), paddle.rand([2, 4])
    loss, pred, mask = build(MaskedAutoencoderViT, 255)(paddle.to_tensor(BYTES), noise=noise)
    model = build(MaskedAutoencoderViT, value_range)
    got = model(images, noise=noise)
    np.testing.assert_array_equal(got[2].numpy(), mask.numpy())
    np.testing.assert_allclose(got[1].numpy(), pred.numpy(), atol=1e-5)
    assert float(got[0]) == pytest.approx(float(loss), rel=1e-5)
    expected = build(VisionTransformer, 255).forward_features(paddle.to_tensor(BYTES)).numpy()
    np.testing.assert_allclose(
        build(VisionTransformer, value_range).forward_features(images).numpy(), expected, atol=1e-5
    )
    patches = model.patchify(images)
    unit = unit_patches(patches, model.pixels).numpy()
    np.testing.assert_allclose(unit, model.patchify(paddle.to_tensor(BYTES)).numpy() / 255, atol=1e-6)
    np.testing.assert_allclose(denormalize_patches(model.normalize(patches), model.pixels).numpy(), unit, atol=1e-6)


def test_floats_are_normalised_already_where_the_range_is_of_integers():
    model, images = build(VisionTransformer, 65535), SCENES[65535].view(np.uint16).astype(np.float64) / 65535
    floats = ((images - STATISTICS["pixel_mean"]) / STATISTICS["pixel_std"]).transpose(0, 3, 1, 2).astype("float32")
    expected = model(paddle.to_tensor(SCENES[65535])).numpy()
    np.testing.assert_allclose(model(paddle.to_tensor(floats)).numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value_range", [0, -1, (1.0, 1.0), [2, 1]])
def test_a_range_without_width_is_refused(value_range):
    with pytest.raises(ValueError, match="value_range="):
        build(VisionTransformer, value_range)


def test_the_message_about_a_shape_says_what_is_wanted():
    with pytest.raises(ValueError, match=r"are needed, as stored \[N, H, W, C\]$"):
        build(VisionTransformer, (0.0, 1.0))(paddle.zeros([2, 5, 8, 8]))
