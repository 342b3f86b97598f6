"""The cross-attention decoder against NumPy, one patch at a time; and what only it can do."""

import importlib.util
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import paddle
import pytest

from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey, fused, masking_noise
from mae_core.ops.products import in_bfloat16, why_no_bfloat16

_spec = importlib.util.spec_from_file_location("numpy_mae", Path(__file__).with_name("numpy_mae.py"))
numpy_mae = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(numpy_mae)

SMALL = {
    "decoder_kind": "cross", "embed_dim": 24, "depth": 2, "num_heads": 3, "decoder_embed_dim": 16, "decoder_depth": 3,
    "decoder_num_heads": 2, "patch_size": 4, "img_size": 16, "in_chans": 3,
}  # fmt: skip
OPS = [pytest.param("fused", marks=pytest.mark.skipif(not fused.LOADED, reason=fused.why_not())), "reference"]


def make(**kwargs):
    paddle.seed(0)
    model = MaskedAutoencoderViT(**{**SMALL, **kwargs})
    rng = np.random.default_rng(0)
    for p in model.parameters():  # biases and norms away from their trivial initial values
        p.set_value(p.numpy() + 0.1 * rng.standard_normal(p.shape).astype("float32"))
    return model


def inputs(model, n=3):
    rng = np.random.default_rng(1)
    images = rng.standard_normal((n, model.in_chans, *model.img_size)).astype("float32")
    return images, rng.random((n, model.num_patches), dtype="float32")


def reference(model, images, noise, ratio, predicted, weights=None):
    return numpy_mae.cross_forward(
        weights or weights_of(model), images.astype("float64"), noise, p=model.patch_size, heads=3, decoder_heads=2,
        mask_ratio=ratio, norm_pix=model.norm_pix_loss, predicted=predicted,
    )  # fmt: skip


def score(model, images, noise, ratio=0.75, **kwargs):
    loss, pred, _ = model(paddle.to_tensor(images), ratio, noise=paddle.to_tensor(noise), **kwargs)
    return loss, pred


def weights_of(model):
    """Weights in float64, with zeros for biases that are not there."""
    weights = {k: v.numpy().astype("float64") for k, v in model.state_dict().items()}
    for name in [n for n in weights if n.endswith((".qkv.weight", ".q.weight", ".kv.weight"))]:
        weights.setdefault(name.replace("weight", "bias"), np.zeros(weights[name].shape[1]))
    return weights


@pytest.mark.parametrize("ops", OPS)
@pytest.mark.parametrize(
    ("variant", "ratio", "share", "count"),
    [
        ({}, 0.75, 0.25, 4),
        ({}, 0.75, 0.75, 12),
        ({"qkv_bias": False, "norm_pix_loss": False, "in_chans": 1}, 0.5, 0.2, 4),
        ({"img_size": (21, 14), "patch_size": 7, "mlp_ratio": 2.0, "depth": 1}, 0.75, 0.25, 2),
    ],
)
def test_loss_and_predictions_match_numpy_float64(ops, variant, ratio, share, count, monkeypatch):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    model = make(**variant)
    images, noise = inputs(model)
    loss = score(model, images, noise, ratio, predicted=share, return_pred=False)[0]
    expected, preds = reference(model, images, noise, ratio, count)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    removed = model.num_patches - int(model.num_patches * (1 - ratio))
    whole, pred = score(model, images, noise, ratio)
    np.testing.assert_allclose(pred.numpy(), preds, rtol=1e-4, atol=2e-5)
    assert float(whole) == pytest.approx(reference(model, images, noise, ratio, removed)[0], rel=1e-5)


@pytest.mark.parametrize("ops", OPS)
def test_gradients_match_finite_differences_of_numpy(ops, monkeypatch):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    model = make()
    images, noise = inputs(model, n=1)
    score(model, images, noise, predicted=0.25, return_pred=False)[0].backward()
    weights, rng = weights_of(model), np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        if parameter.stop_gradient:
            assert name in ("pos_embed", "decoder_pos_embed", "norm.weight", "norm.bias")
            assert parameter.grad is None
            continue
        direction = rng.standard_normal(parameter.shape)
        moved = [{**weights, name: weights[name] + sign * 1e-5 * direction} for sign in (1, -1)]
        up, down = (reference(model, images, noise, 0.75, 4, weights)[0] for weights in moved)
        actual = float((parameter.grad.numpy() * direction).sum())
        assert actual == pytest.approx((up - down) / 2e-5, rel=2e-3, abs=2e-5), name


@pytest.mark.parametrize("share", [0.25, None])
def test_training_gives_the_loss_of_the_full_prediction(share):
    """Predictions of other patches change nothing."""
    model = make()
    images, noise = inputs(model)
    loss, pred = score(model, images, noise, predicted=share)
    alone, none = score(model, images, noise, predicted=share, return_pred=False)
    assert none is None
    assert float(alone) == pytest.approx(float(loss), rel=1e-6)
    np.testing.assert_array_equal(pred.numpy(), score(model, images, noise)[1].numpy())


def test_recomputed_activations_give_the_same_bits():
    model = make(img_size=(8, 12), decoder_depth=2)
    model.train()
    images, noise = inputs(model)
    found = []
    for model.grad_checkpointing in (True, False):
        loss = score(model, images, noise, predicted=0.5, return_pred=False)[0]
        loss.backward()
        found.append((float(loss), [p.grad.numpy() for p in model.parameters() if p.grad is not None]))
        model.clear_gradients()
    assert found[0][0] == found[1][0]
    assert len(found[0][1]) == len(found[1][1])
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_each_patch_is_predicted_equally_often_and_beside_any_other(share):
    """What stays and what is predicted are parts of one random order, the same for the same key."""
    length, keep, count = 16, 4, int(16 * share)
    noise = masking_noise(3, 0, np.arange(20000), length)
    order = np.argsort(noise, axis=1, kind="stable")
    chosen = np.zeros(noise.shape)
    np.put_along_axis(chosen, order[:, keep : keep + count], 1.0, axis=1)
    visible = np.zeros(noise.shape)
    np.put_along_axis(visible, order[:, :keep], 1.0, axis=1)
    spread = 5 * np.sqrt(share * (1 - share) / len(noise))
    assert np.abs(chosen.mean(axis=0) - share).max() < spread
    beside = chosen.T @ visible / len(noise)
    np.fill_diagonal(beside, share * keep / (length - 1))
    assert np.abs(beside - share * keep / (length - 1)).max() < spread


def test_the_predicted_ones_are_a_function_of_the_key(monkeypatch):
    model = make()
    images = paddle.to_tensor(inputs(model)[0])
    asked = []
    monkeypatch.setattr(
        model, "decode_crosswise", lambda tokens, ids: asked.append(ids.numpy()) or paddle.zeros([3, ids.shape[1], 16])
    )
    for order in ([5, 6, 7], [7, 6, 5]):
        key = MaskKey(2, 9, paddle.to_tensor(order))
        model(images, noise=key, predicted=0.25, return_pred=False)
    np.testing.assert_array_equal(asked[0], asked[1][::-1])
    np.testing.assert_array_equal(asked[0], np.argsort(masking_noise(2, 9, [5, 6, 7], 16), axis=1)[:, 4:8])


def test_patches_without_data_do_not_count():
    model = make()
    images, noise = inputs(model)
    valid = np.ones_like(noise)
    valid[0, :13] = 0
    asked = {"valid": paddle.to_tensor(valid), "predicted": 0.25, "return_pred": False}
    loss = score(model, images, noise, **asked)[0]
    other = images.copy()
    other[0, :, :12] = 9.0  # twelve patches without data, removed as all thirteen but one are
    assert float(score(model, other, noise, **asked)[0]) == float(loss)


@pytest.mark.skipif(bool(why_no_bfloat16()), reason=why_no_bfloat16())
def test_bfloat16_is_near_float32():
    model = make(embed_dim=48, decoder_embed_dim=32)
    images, noise = inputs(model)
    losses, gradients = [], []
    for rounds in (False, True):
        with in_bfloat16() if rounds else nullcontext():
            loss = score(model, images, noise, predicted=0.25, return_pred=False)[0]
        loss.backward()
        losses.append(float(loss))
        gradients.append(np.concatenate([p.grad.numpy().ravel() for p in model.parameters() if p.grad is not None]))
        model.clear_gradients()
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=1e-2)
    exact, rounded = gradients
    assert 1e-4 < np.linalg.norm(rounded - exact) / np.linalg.norm(exact) < 3e-2


@pytest.mark.parametrize(
    ("kind", "share", "message"),
    [("cross", 0.8, "13 of 16 patches; 12 are removed"), ("cross", 1.0, "outside"), ("full", 0.25, "only a cross")],
)
def test_shares_that_do_not_fit_are_refused_in_words(kind, share, message):
    model = MaskedAutoencoderViT(**{**SMALL, "decoder_kind": kind})
    with pytest.raises(ValueError, match=message):
        score(model, *inputs(model), predicted=share)


def test_other_kinds_are_refused_in_words():
    with pytest.raises(ValueError, match="decoder_kind='crossed'; use 'full' or 'cross'"):
        make(decoder_kind="crossed")
