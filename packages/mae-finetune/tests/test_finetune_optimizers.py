"""Layer-wise rates and weight decay of fine-tuning, and partial fine-tuning: exactly the last k blocks move."""

import importlib.util

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.models import VisionTransformer
from mae_core.training.optim import layer_id, layer_scales, trainable
from mae_finetune.optimizer import build_optimizer, decays, freeze_below

OPTIMIZERS = ("AdamW", "AdamWDL")  # without PaddleNLP the second is the first
# What the official code gives a 3-block model, written down by hand: 4 layers above the tokens.
LAYERS = {
    "cls_token": 0, "pos_embed": 0, "patch_embed.proj.weight": 0, "patch_embed.proj.bias": 0,
    "blocks.0.norm1.weight": 1, "blocks.0.attn.qkv.weight": 1, "blocks.1.mlp.fc2.bias": 2,
    "blocks.2.attn.proj.weight": 3, "fc_norm.weight": 4, "norm.bias": 4, "head.weight": 4, "head.bias": 4,
}  # fmt: skip
UNDECAYED = ("cls_token", "pos_embed")

HEAD = {"fc_norm", "head"}
MLP_OF_LAST = {"blocks.2.norm2", "blocks.2.mlp.fc1", "blocks.2.mlp.fc2"}
BLOCK = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"}


def tiny(depth=3, **kwargs):
    paddle.seed(0)
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "num_classes": 5}
    return VisionTransformer(depth=depth, **{**sizes, "head_init_std": 0.02, **kwargs})


@pytest.mark.parametrize(("name", "layer"), LAYERS.items())
def test_layer_of_a_parameter(name, layer):
    assert layer_id(name, depth=3) == layer


def test_scales_of_base_are_the_published_ones():
    model = mae_core.build_model("vit_base_patch16", img_size=32, embed_dim=16, num_heads=2, num_classes=10)
    scales = layer_scales(model, 0.65)
    assert scales["head.weight"] == scales["fc_norm.bias"] == 1.0
    assert scales["blocks.11.mlp.fc1.weight"] == 0.65
    assert scales["blocks.0.attn.qkv.bias"] == pytest.approx(0.65**12)
    assert scales["patch_embed.proj.weight"] == scales["pos_embed"] == pytest.approx(0.0037, abs=5e-5)


@pytest.mark.parametrize("layer_decay", [0.65, 1.0])
def test_each_parameter_carries_its_scale(layer_decay):
    model = tiny()
    build_optimizer(model, layer_decay=layer_decay)
    for name, parameter in model.named_parameters():
        if name in LAYERS:
            assert parameter.optimize_attr["learning_rate"] == layer_decay ** (4 - LAYERS[name]), name


def test_what_is_decayed():
    model = tiny()
    decayed = {name for name, p in trainable(model) if decays(name, p)}
    assert decayed == {
        name for name, p in model.named_parameters() if name.endswith(".weight") and p.ndim == 2
    }  # no bias, no norm, no class token, no positions


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_match_adamw_in_numpy_with_the_official_groups(name):
    """Real gradients of a real loss, 60 steps with a changing learning rate, every parameter in float64."""
    model, beta1, beta2, eps, decay, layer_decay = tiny(), 0.9, 0.999, 1e-8, 0.05, 0.65
    optimizer = build_optimizer(model, name=name, weight_decay=decay, betas=(beta1, beta2), eps=eps, layer_decay=0.65)
    expected = {n: p.numpy().astype("float64") for n, p in model.named_parameters()}
    moments = {n: [np.zeros(v.shape), np.zeros(v.shape)] for n, v in expected.items()}
    rng = np.random.default_rng(0)
    images = paddle.to_tensor(rng.standard_normal((12, 3, 16, 16)).astype("float32"))
    labels = paddle.to_tensor(rng.integers(0, 5, 12))
    for t in range(1, 61):
        lr = 1e-2 * (1 - t / 100)
        optimizer.set_lr(lr)
        paddle.nn.functional.cross_entropy(model(images), labels).backward()
        gradients = {n: p.grad.numpy().astype("float64") for n, p in model.named_parameters()}
        optimizer.step()
        optimizer.clear_grad()
        for n, g in gradients.items():
            block = n.split(".")[1] if n.startswith("blocks.") else None
            below = n in UNDECAYED or n.startswith("patch_embed.")
            scale = layer_decay ** (4 if below else 3 - int(block) if block else 0)
            m, v = moments[n]
            moments[n] = m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            if expected[n].ndim > 1 and n not in UNDECAYED:
                expected[n] *= 1 - lr * scale * decay
            expected[n] -= lr * scale * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    for n, p in model.named_parameters():
        np.testing.assert_allclose(p.numpy(), expected[n], atol=2e-6, err_msg=n)


@pytest.mark.skipif(importlib.util.find_spec("paddlenlp") is not None, reason="paddlenlp is installed")
def test_without_paddlenlp_its_place_is_taken_and_said_once(caplog):
    with caplog.at_level("INFO", "mae"):
        build_optimizer(tiny(), name="AdamWDL", layer_decay=0.65)
    assert [record.message for record in caplog.records if "PaddleNLP is not installed" in record.message] == [
        "TRAIN.OPTIMIZER.NAME=AdamWDL: PaddleNLP is not installed; AdamW with a rate for each layer takes its"
        " place, with the same steps"
    ]


@pytest.mark.parametrize(
    ("blocks", "layers"),
    [
        (0, HEAD),
        (0.5, HEAD | MLP_OF_LAST),
        (1, HEAD | {f"blocks.2.{part}" for part in BLOCK}),
        (2, HEAD | {f"blocks.{i}.{part}" for i in (1, 2) for part in BLOCK}),
        (3, HEAD | {f"blocks.{i}.{part}" for i in (0, 1, 2) for part in BLOCK}),
    ],
)
@pytest.mark.parametrize("grad_checkpointing", [False, True])
def test_only_the_last_blocks_move(blocks, layers, grad_checkpointing):
    paddle.seed(0)
    model = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=3, num_heads=2, num_classes=3)
    model.head.weight.set_value(paddle.randn([8, 3]))
    model.grad_checkpointing = grad_checkpointing
    freeze_below(model, blocks)
    optimizer = build_optimizer(model, layer_decay=0.75)
    optimizer.set_lr(0.1)
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    model(paddle.randn([4, 3, 8, 8])).square().sum().backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not np.array_equal(before[name], p.numpy())}
    assert {name.rsplit(".", 1)[0] for name in moved} == layers
    assert not moved & {"pos_embed", "cls_token"}
