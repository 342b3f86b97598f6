"""Learning rates at places known from the paper; AdamW, its decay groups and clipping, against NumPy."""

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.training.optim import (
    Ema,
    build_adamw,
    clip_gradients,
    decays,
    grad_norm,
    trainable,
    warmup_cosine,
    warmup_stable_decay,
)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.1), (4, 0.34), (10, 0.7), (35, 0.4), (60, 0.1), (70, 0.1)])
def test_warm_up_and_half_a_cosine(epoch, rate):
    settings = {"lr": 0.7, "min_lr": 0.1, "warmup_epochs": 10, "epochs": 60, "warmup_start_lr": 0.1}
    assert warmup_cosine(epoch, **settings) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.1), (4, 0.34), (10, 0.7), (50, 0.7), (52.5, 0.4), (60, 0.1), (70, 0.1)]
)
def test_warm_up_peak_and_one_minus_a_root(epoch, rate):
    settings = {"lr": 0.7, "min_lr": 0.1, "warmup_epochs": 10, "epochs": 60, "warmup_start_lr": 0.1}
    assert warmup_stable_decay(epoch, falls_from=50, **settings) == pytest.approx(rate)
    never = warmup_stable_decay(epoch, falls_from=60, **settings)
    assert never == (pytest.approx(rate) if epoch < 10 else 0.7 if epoch <= 60 else 0.1)


def test_adamw_has_the_betas_of_pre_training():
    optimizer = build_adamw(paddle.nn.Linear(2, 2))
    assert (optimizer._beta1, optimizer._beta2) == (0.9, 0.95)


def test_decay_groups_by_name():
    model = mae_core.build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)
    names = {name for name, p in trainable(model) if decays(name, p)}
    undecayed = {name for name, _ in trainable(model)} - names
    assert {"cls_token", "mask_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= names
    assert {
        "norm.weight",
        "blocks.0.norm1.weight",
        "blocks.0.attn.qkv.bias",
        "decoder_pred.bias",
    } <= undecayed
    assert not any(name.endswith(".bias") or "norm" in name for name in names)
    assert "pos_embed" not in names | undecayed  # fixed in pre-training


def test_steps_match_adamw_in_numpy_with_decay_only_where_it_belongs():
    paddle.seed(0)
    layer = paddle.nn.Linear(3, 2)
    layer.bias.set_value(np.array([0.3, -0.2], dtype="float32"))
    lr, beta1, beta2, eps, decay = 0.01, 0.9, 0.95, 1e-8, 0.3
    optimizer = build_adamw(layer, weight_decay=decay, betas=(beta1, beta2), eps=eps)
    expected = {
        "weight": layer.weight.numpy().astype("float64"),
        "bias": layer.bias.numpy().astype("float64"),
    }
    moments = {name: [0.0, 0.0] for name in expected}
    rng = np.random.default_rng(0)
    for t in range(1, 8):
        x = rng.standard_normal((4, 3))
        gradients = {"weight": np.repeat(x.sum(0)[:, None], 2, axis=1), "bias": np.full(2, 4.0)}
        optimizer.set_lr(lr)
        layer(paddle.to_tensor(x.astype("float32"))).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        for name, g in gradients.items():
            m, v = moments[name]
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            moments[name] = [m, v]
            if name == "weight":
                expected[name] = expected[name] * (1 - lr * decay)
            expected[name] = expected[name] - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    np.testing.assert_allclose(layer.weight.numpy(), expected["weight"], rtol=2e-6)
    np.testing.assert_allclose(layer.bias.numpy(), expected["bias"], rtol=2e-6)


def test_clipping_is_global():
    a, b = paddle.create_parameter([3], "float32"), paddle.create_parameter([2, 2], "float32")
    (a * paddle.to_tensor([3.0, 0.0, 0.0])).sum().backward()
    (b * paddle.to_tensor([[0.0, 4.0], [0.0, 0.0]])).sum().backward()
    norm = grad_norm([a, b])
    assert float(norm) == 5.0
    clip_gradients([a, b], 10.0, norm)
    assert a.grad.numpy()[0] == 3.0
    clip_gradients([a, b], 1.0, norm)
    np.testing.assert_allclose([a.grad.numpy()[0], b.grad.numpy()[0, 1]], [0.6, 0.8], rtol=1e-5)


def test_an_average_of_a_part_leaves_the_rest_as_the_model_has_it():
    model = paddle.nn.Linear(2, 2)
    ema = Ema(model, 0.5, averaged=lambda name: name == "weight")
    start = model.weight.numpy()
    for value in (model.weight, model.bias):
        value.set_value(value + 1)
    ema.update(model)
    assert ema.arrays().keys() == {"weight"}
    with ema.swapped_in(model):
        np.testing.assert_allclose(model.weight.numpy(), start + 0.5)
        np.testing.assert_allclose(model.bias.numpy(), 1)
    np.testing.assert_allclose(model.weight.numpy(), start + 1)
    ema.load({"weight": start, "bias": start[0]})
    assert ema.arrays().keys() == {"weight"}
