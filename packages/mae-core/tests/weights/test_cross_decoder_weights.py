"""Weights of a cross-attention decoder: kept, converted where they have a place, never put into another decoder."""

import json

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.errors import CheckpointError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.load import load_model
from mae_core.weights.metadata import metadata_of

SIZES = {"img_size": (16, 24), "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def mae(kind, **kwargs):
    decoder = {"decoder_embed_dim": 12, "decoder_depth": 1, "decoder_num_heads": 3}
    return MaskedAutoencoderViT(**{**SIZES, **decoder, "decoder_kind": kind, **kwargs})


def save(file, model, drop=()):
    arrays = {name: array for name, array in model_arrays(model).items() if not name.startswith(drop)}
    write_safetensors(file, arrays, {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())})
    return file


@pytest.mark.parametrize("name", ["x.safetensors", "x.pdparams"])
def test_a_file_tells_the_kind_and_gives_the_model_back(tmp_path, name):
    model = mae("cross", decoder_depth=3, qkv_bias=False)
    done = convert(save(tmp_path / "own.safetensors", model), tmp_path / name)
    assert (done.left_out, done.tensors) == ([], len(model.state_dict()))
    stated = {"img_size": (16, 24), "num_heads": 2, "decoder_num_heads": 3, "norm_pix_loss": True}
    loaded = mae_core.load(tmp_path / name, **stated)
    assert (loaded.decoder_kind, len(loaded.decoder_blocks)) == ("cross", 3)
    for key, array in model_arrays(model).items():
        np.testing.assert_array_equal(loaded.state_dict()[key].numpy(), array, err_msg=key)
    images, noise = paddle.rand([2, 3, 16, 24]), paddle.rand([2, 24])
    model.eval()
    for a, b in zip(model(images, noise=noise), loaded(images, noise=noise), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


@pytest.mark.parametrize(("kind", "other"), [("cross", "full"), ("full", "cross")])
@pytest.mark.parametrize("load", [mae_core.load_pretrained, lambda model, file: load_model(file, model)])
def test_weights_of_the_other_kind_are_refused_in_one_line(tmp_path, kind, other, load):
    model = mae(other)
    before = model_arrays(model)
    with pytest.raises(CheckpointError) as error:
        load(model, save(tmp_path / "x.safetensors", mae(kind)))
    message = f"decoder_kind is {kind}, the model's {other}; set decoder_kind to {kind}"
    assert str(error.value) == f"{tmp_path / 'x.safetensors'} does not fit this model: {message}"
    for name, array in model_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_an_encoder_goes_in_and_out(tmp_path):
    model, whole = mae("cross"), mae("full")
    report = mae_core.load_pretrained(model, save(tmp_path / "e.safetensors", whole, ("decoder", "mask_token")))
    assert {name.partition(".")[0].partition("_")[0] for name in report.missing} == {"decoder", "mask"}
    assert "the file holds no decoder" in report.lines()[1]
    classifier = VisionTransformer(num_classes=5, **SIZES)
    report = mae_core.load_pretrained(classifier, save(tmp_path / "x.safetensors", model))
    assert "the decoder is left out, as meant: this model has none" in report.lines()
    np.testing.assert_array_equal(classifier.blocks[1].mlp.fc1.weight.numpy(), whole.blocks[1].mlp.fc1.weight.numpy())


def test_only_our_own_layout_has_a_place_for_the_decoder(tmp_path):
    file = save(tmp_path / "x.safetensors", mae("cross"))
    for target, name in (("official", "a.pth"), ("huggingface", "folder"), ("paddlevit", "a.pdparams")):
        with pytest.raises(CheckpointError, match=f"models of {target} have none: --to mae-core keeps it, --to timm"):
            convert(file, tmp_path / name, target=target)
        assert not (tmp_path / name).exists()
    done = convert(file, tmp_path / "encoder.safetensors", target="timm")
    assert {name.partition("_")[0] for name in done.left_out} == {"decoder", "mask"}
    assert mae_core.load(tmp_path / "encoder.safetensors", img_size=(16, 24), num_heads=2).num_patches == 24
