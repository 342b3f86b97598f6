"""The model against NumPy, the paper's parameter counts, and what it must refuse."""

import importlib.util
from pathlib import Path

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey, masking_noise

_spec = importlib.util.spec_from_file_location("numpy_mae", Path(__file__).with_name("numpy_mae.py"))
numpy_mae = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(numpy_mae)

SMALL = {
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "decoder_embed_dim": 16,
    "decoder_depth": 2,
    "decoder_num_heads": 2,
}
VARIANTS = [
    {"img_size": 16, "patch_size": 4, "in_chans": 3, "norm_pix_loss": True},
    {"img_size": (8, 20), "patch_size": 4, "in_chans": 1, "norm_pix_loss": False},
    {"img_size": (21, 14), "patch_size": 7, "in_chans": 5, "norm_pix_loss": True},
]


def make(seed=0, **kwargs):
    paddle.seed(seed)
    model = MaskedAutoencoderViT(**{**SMALL, **kwargs})
    rng = np.random.default_rng(seed)
    for p in model.parameters():  # biases and norms away from their trivial initial values
        p.set_value(p.numpy() + 0.1 * rng.standard_normal(p.shape).astype("float32"))
    return model


def inputs(model, n=3, seed=1):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((n, model.in_chans, *model.img_size)).astype("float32")
    return images, rng.random((n, model.num_patches), dtype="float32")


def reference(model, images, noise, ratio, weights=None, valid=1.0):
    weights = weights or {k: v.numpy().astype("float64") for k, v in model.state_dict().items()}
    return numpy_mae.forward(
        weights, images.astype("float64"), noise, p=model.patch_size, heads=3, decoder_heads=2, mask_ratio=ratio,
        norm_pix=model.norm_pix_loss, valid=valid,
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("ratio", [0.75, 0.4])
def test_loss_prediction_and_mask_match_numpy_float64(variant, ratio):
    model = make(**variant)
    images, noise = inputs(model)
    loss, pred, mask = model(paddle.to_tensor(images), ratio, noise=paddle.to_tensor(noise))
    expected_loss, expected_pred, expected_mask = reference(model, images, noise, ratio)
    np.testing.assert_array_equal(mask.numpy(), expected_mask)
    np.testing.assert_allclose(float(loss), expected_loss, rtol=1e-5)
    np.testing.assert_allclose(pred.numpy(), expected_pred, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_patches_without_data_go_first_and_never_count(variant):
    model = make(**variant)
    images, noise = inputs(model)
    length = model.num_patches
    keep = length - int(length * 0.5)
    valid = np.ones_like(noise)
    valid[0, :2] = 0
    valid[1, 1 : length - keep + 2] = 0  # more than are removed
    asked = {"noise": paddle.to_tensor(noise), "valid": paddle.to_tensor(valid)}
    loss, pred, mask = model(paddle.to_tensor(images), 0.5, **asked)
    assert (mask.numpy().sum(axis=1) == keep).all()
    removed = mask.numpy() == 1
    assert removed[0, :2].all()
    assert removed[1].sum() == (removed[1] & (valid[1] == 0)).sum()  # no patch with data while others are there
    np.testing.assert_array_equal(removed[2], model(paddle.to_tensor(images), 0.5, noise=asked["noise"])[2][2] == 1)
    expected_loss, expected_pred, expected_mask = reference(
        model, images, noise + 2 * (1 - valid), 0.5, valid=valid.astype("float64")
    )
    np.testing.assert_array_equal(mask.numpy(), expected_mask)
    np.testing.assert_allclose(float(loss), expected_loss, rtol=1e-5)
    np.testing.assert_allclose(pred.numpy(), expected_pred, rtol=1e-4, atol=1e-5)
    rows, columns = model.grid  # what stands in removed patches without data changes nothing
    place = np.kron(valid.reshape(-1, rows, columns), np.ones((model.patch_size,) * 2))[:, None] == 0
    hidden = np.kron(mask.numpy().reshape(-1, rows, columns), np.ones((model.patch_size,) * 2))[:, None] == 1
    other = np.where(place & hidden, 9.0, images)
    assert float(model(paddle.to_tensor(other), 0.5, **asked)[0]) == float(loss)


def test_a_batch_without_any_data_costs_nothing():
    model = make(**VARIANTS[0])
    images = paddle.to_tensor(inputs(model)[0])
    loss, _, mask = model(images, valid=paddle.zeros([3, 16]), return_pred=False)
    loss.backward()
    assert float(loss) == 0
    assert float(mask.sum()) == 36
    assert all(float(p.grad.abs().sum()) == 0 for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("form", ["key", "noise"])
def test_masks_of_images_with_all_data_are_those_of_the_noise_itself(form):
    model = make(**VARIANTS[0])
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    key = MaskKey(3, 1, paddle.to_tensor([5, 6, 7]))
    noise = key if form == "key" else paddle.to_tensor(masking_noise(3, 1, [5, 6, 7], 16))
    plain = model(paddle.to_tensor(images), noise=key)
    found = model(paddle.to_tensor(images), noise=noise, valid=paddle.ones([3, 16]))
    assert (found[2] == plain[2]).all()
    np.testing.assert_array_equal(found[1].numpy(), plain[1].numpy())
    np.testing.assert_allclose(float(found[0]), float(plain[0]), rtol=1e-6)


def test_training_path_gives_the_same_loss_and_gradients_as_the_full_prediction():
    model = make(**VARIANTS[0])
    images, noise = map(paddle.to_tensor, inputs(model))
    gradients = []
    for return_pred in (True, False):
        loss, pred, _ = model(images, noise=noise, return_pred=return_pred)
        assert (pred is None) is (not return_pred)
        loss.backward()
        gradients.append({n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None})
        model.clear_gradients()
    assert gradients[0].keys() == gradients[1].keys() > {"mask_token", "cls_token", "blocks.0.attn.qkv.bias"}
    for name, value in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_gradients_match_finite_differences_of_numpy():
    model = make(**VARIANTS[0])
    images, noise = inputs(model, n=2)
    loss, _, _ = model(paddle.to_tensor(images), noise=paddle.to_tensor(noise), return_pred=False)
    loss.backward()
    weights = {k: v.numpy().astype("float64") for k, v in model.state_dict().items()}
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        if parameter.stop_gradient:
            assert parameter.grad is None
            continue
        direction = rng.standard_normal(parameter.shape)
        change = []
        for sign in (1, -1):
            moved = {**weights, name: weights[name] + sign * 1e-5 * direction}
            change.append(reference(model, images, noise, 0.75, moved)[0])
        expected = (change[0] - change[1]) / 2e-5
        actual = float((parameter.grad.numpy() * direction).sum())
        assert actual == pytest.approx(expected, rel=2e-3, abs=2e-5), name


def test_uint8_images_are_normalised_inside():
    model = make(img_size=8, patch_size=4, in_chans=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    floats = (images / 255.0 - mae_core.models.IMAGENET_MEAN) / mae_core.models.IMAGENET_STD
    noise = paddle.rand([2, 4])
    from_bytes = model(paddle.to_tensor(images), noise=noise)
    from_floats = model(paddle.to_tensor(floats.transpose(0, 3, 1, 2).astype("float32")), noise=noise)
    np.testing.assert_allclose(from_bytes[1].numpy(), from_floats[1].numpy(), rtol=1e-4, atol=1e-5)
    assert float(from_bytes[0]) == pytest.approx(float(from_floats[0]), rel=1e-5)


def test_custom_mask_decides_what_is_removed():
    model = make(img_size=16, patch_size=4, norm_pix_loss=False)
    images, _ = inputs(model, n=2)
    mask = np.zeros((2, 16), dtype=bool)
    mask[0, :6] = mask[1, 10:] = True
    loss, pred, used = model(paddle.to_tensor(images), mask=paddle.to_tensor(mask))
    np.testing.assert_array_equal(used.numpy(), mask.astype("float32"))
    changed = images.copy()
    changed[0, :, :4] += 1.0  # the first row of patches, all removed: the encoder must not see it
    again = model(paddle.to_tensor(changed), mask=paddle.to_tensor(mask))
    np.testing.assert_array_equal(again[1].numpy()[0], pred.numpy()[0])
    assert float(again[0]) != float(loss)


def test_features_cover_all_patches_in_order_and_keep_gradient_checkpointing_exact():
    model = make(img_size=(8, 12), patch_size=4)
    images = paddle.to_tensor(inputs(model, n=2)[0])
    model.eval()
    plain = model.forward_features(images)
    assert plain.shape == [2, 7, 24]
    model.train()
    model.grad_checkpointing = True
    noise = paddle.rand([2, 6])
    losses = []
    for checkpointing in (True, False):
        model.grad_checkpointing = checkpointing
        loss, _, _ = model(images, noise=noise, return_pred=False)
        loss.backward()
        losses.append((float(loss), model.blocks[0].attn.qkv.weight.grad.numpy()))
        model.clear_gradients()
    assert losses[0][0] == losses[1][0]
    np.testing.assert_array_equal(losses[0][1], losses[1][1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m(x[:, :, :8]), "images have shape"),
        (lambda m, x: m(x, 1.0), "outside"),
        (lambda m, x: m(x, -0.1), "outside"),
        (lambda m, x: m(x, 0.0), "nothing to predict"),
        (lambda m, x: m(x, 0.99), "leaves none"),
        (lambda m, x: m(x, noise=paddle.rand([1, 16])), "noise has shape"),
        (lambda m, x: m(x, mask=paddle.ones([2, 16])), "at least one"),
        (lambda m, x: m(x, mask=paddle.eye(2, 16).cumsum(0)), "same number"),
    ],
)
def test_what_cannot_be_masked_is_refused_in_words(call, message):
    model = make(img_size=16, patch_size=4)
    with pytest.raises(ValueError, match=message):
        call(model, paddle.to_tensor(inputs(model, n=2)[0]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"img_size": 225}, "multiple"),
        ({"img_size": 8, "patch_size": 16}, "multiple"),
        ({"embed_dim": 50, "num_heads": 5}, "divisible by 4"),
        ({"embed_dim": 24, "num_heads": 5}, "num_heads"),
        ({"in_chans": 4, "pixel_mean": [0.5]}, "one number"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_words(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MaskedAutoencoderViT(**{**SMALL, **kwargs})
