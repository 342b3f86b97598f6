"""Parameters and MACs: against models that are built and run, and against the figures of the paper's sizes."""

import inspect

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.models import PRESETS, MaskedAutoencoderViT, VisionTransformer
from mae_core.models.cost import ModelSize, mae_macs, mae_macs_as_written, mae_parameters, vit_macs, vit_parameters
from mae_core.ops.layers import Linear

SMALL = [
    {"embed_dim": 16, "depth": 2, "patch_size": 4, "img_size": (8, 24), "in_chans": 1, "mlp_ratio": 3.0},
    {"embed_dim": 24, "depth": 1, "patch_size": 2, "img_size": 8, "decoder_depth": 1, "decoder_embed_dim": 8},
    {"embed_dim": 8, "depth": 3, "patch_size": 8, "img_size": 32, "decoder_depth": 3, "num_classes": 5},
    {"embed_dim": 8, "depth": 3, "patch_size": 8, "img_size": 32, "decoder_depth": 2, "decoder_kind": "cross"},
]
# In GMACs: encoder, decoder and both with three quarters masked; a ViT on a whole image, without its head.
PAPER = {
    "base_patch16": (4.41, 5.37, 9.78, 17.56),
    "large_patch16": (15.38, 5.38, 20.76, 61.55),
    "huge_patch14": (41.43, 7.13, 48.56, 167.29),
}


def mae(sizes):
    sizes = {key: value for key, value in sizes.items() if key != "num_classes"}
    return MaskedAutoencoderViT(**sizes, num_heads=2, decoder_num_heads=2)


def vit(sizes):
    return VisionTransformer(**{k: v for k, v in sizes.items() if not k.startswith("decoder")}, num_heads=2)


def counted(monkeypatch, model, run):
    """Run a model of one image and count the products that its layers really do, by part."""
    seen = {"encoder": 0, "decoder": 0}

    def side(name):
        return "decoder" if name.startswith("decoder") else "encoder"

    def linear_hook(name):
        def hook(layer, inputs, output):
            seen[side(name)] += int(np.prod(inputs[0].shape)) * output.shape[-1]

        return hook

    attention = paddle.nn.functional.scaled_dot_product_attention
    where = []

    def attend(q, k, v, *args, **kwargs):
        (rows, queries, heads, dim), keys = q.shape, k.shape[1]
        seen[side(where[-1])] += 2 * rows * queries * keys * heads * dim
        return attention(q, k, v, *args, **kwargs)

    monkeypatch.setattr(paddle.nn.functional, "scaled_dot_product_attention", attend)
    for name, layer in model.named_sublayers():
        if isinstance(layer, Linear):
            layer.register_forward_post_hook(linear_hook(name))
        if name.endswith(".attn"):
            layer.register_forward_pre_hook(lambda layer, inputs, name=name: where.append(name))
    run(model)
    monkeypatch.undo()
    return seen


def images(model):
    height, width = model.img_size
    return paddle.zeros([1, height, width, model.in_chans], dtype="uint8")


def parameters(model, trainable=False, decoder=False):
    return sum(
        int(np.prod(p.shape))
        for name, p in model.named_parameters()
        if not (trainable and p.stop_gradient) and name.startswith(("decoder", "mask_token")) == decoder
    )


@pytest.mark.parametrize("sizes", SMALL)
def test_parameters_are_those_of_the_models(sizes):
    size = ModelSize(**sizes)
    model = mae(sizes)
    for trainable in (False, True):
        cost = mae_parameters(size, trainable=trainable)
        assert cost.encoder == parameters(model, trainable)
        assert cost.decoder == parameters(model, trainable, decoder=True)
        assert cost.total == cost.encoder + cost.decoder
    assert vit_parameters(size) == parameters(vit(sizes))


@pytest.mark.parametrize("sizes", SMALL)
@pytest.mark.parametrize("ratio", [0.75, 0.5])
def test_macs_are_those_that_the_layers_do(monkeypatch, sizes, ratio):
    size = ModelSize(**sizes)
    seen = counted(monkeypatch, mae(sizes), lambda model: model(images(model), ratio, return_pred=False))
    assert mae_macs(size, ratio)._asdict() == seen
    if size.decoder_kind == "cross":
        fewer = {"predicted": 0.25, "return_pred": False}
        seen = counted(monkeypatch, mae(sizes), lambda model: model(images(model), ratio, **fewer))
        assert mae_macs(size, ratio, 0.25)._asdict() == seen
    seen = counted(monkeypatch, vit(sizes), lambda model: model(images(model)))
    assert seen == {"encoder": vit_macs(size), "decoder": 0}


@pytest.mark.parametrize("name", PAPER)
def test_figures_of_the_papers_models(name):
    sizes = {key: value for key, value in PRESETS[f"vit_{name}"][1].items() if key != "num_heads"}
    size = ModelSize(**sizes, num_classes=0)
    encoder, decoder, total, whole = PAPER[name]
    written = mae_macs_as_written(size)
    giga = [round(number / 1e9, 2) for number in (written.encoder, written.decoder, written.total, vit_macs(size))]
    assert giga == [encoder, decoder, total, whole]
    assert mae_macs(size).encoder < written.encoder
    assert mae_macs(size).decoder < written.decoder


def test_defaults_are_those_of_the_models():
    model = mae_core.build_model("mae_vit_base_patch16", depth=1, decoder_depth=1)
    assert mae_parameters(ModelSize(depth=1, decoder_depth=1)).total == parameters(model) + parameters(
        model, decoder=True
    )
    assert vit_parameters(ModelSize(depth=1)) == parameters(mae_core.build_model("vit_base_patch16", depth=1))
    arguments = inspect.signature(MaskedAutoencoderViT).parameters
    assert ModelSize().decoder_depth == arguments["decoder_depth"].default
