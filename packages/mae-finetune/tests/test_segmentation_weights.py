"""Weights of segmentation models: written, read, started from pre-trained ones of another size, decayed by layer."""

import numpy as np
import paddle
import pytest

from mae_core.errors import CheckpointError
from mae_core.models import MaskedAutoencoderViT
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.training.optim import layer_scales
from mae_core.weights.adaptation import resize_positions
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.load import load_pretrained
from mae_core.weights.metadata import metadata_of
from mae_finetune.optimizer import decays
from mae_finetune.segmentation.model import SegmentationTransformer

SIZES = {"patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
NAMES = ["sky", "ground", "tree"]


def made(head, **options):
    sizes = {"img_size": (32, 48), "num_classes": 3, "head_channels": 8, **SIZES, **options}
    return SegmentationTransformer(head=head, **sizes)


def written(model, path):
    header = LAYOUTS["mae-core"].header(metadata_of(model))
    write_safetensors(path, model_arrays(model), header)
    return path


@pytest.mark.parametrize("head", ["upernet", "light"])
def test_what_is_written_is_read(tmp_path, head):
    paddle.seed(0)
    model = made(head, class_names=NAMES)
    for value in model.state_dict().values():
        value.set_value(paddle.rand(value.shape) + 0.1)
    again = made(head)
    report = load_pretrained(again, written(model, tmp_path / "model.safetensors"))
    assert not report.missing
    assert not report.unexpected
    assert again.class_names == NAMES
    for name, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), again.state_dict()[name].numpy()), name


def test_converting_says_how_many_names_are_lost(tmp_path):
    source = written(made("light", class_names=NAMES), tmp_path / "model.safetensors")
    done = convert(source, tmp_path / "seg.pdparams")
    assert "the names of 3 classes; .safetensors keeps them" in "\n".join(done.lines())


def test_another_number_of_classes_starts_anew(tmp_path):
    path = written(made("light", class_names=NAMES), tmp_path / "model.safetensors")
    model = made("light", num_classes=5)
    report = load_pretrained(model, path)
    assert sorted(report.missing) == ["head.classifier.bias", "head.classifier.weight"]
    assert model.class_names is None


def test_pretrained_weights_of_another_size_fit(tmp_path):
    paddle.seed(0)
    decoder = {"decoder_embed_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2}
    pretrained = MaskedAutoencoderViT(img_size=24, **SIZES, **decoder)
    model = made("upernet")
    report = load_pretrained(model, written(pretrained, tmp_path / "model.safetensors"))
    assert all(name.startswith("head.") for name in report.missing)
    expected = resize_positions(pretrained.pos_embed.numpy(), (3, 3), (4, 6))
    assert np.array_equal(model.pos_embed.numpy(), expected)
    first, second = pretrained.blocks[3].mlp.fc1.weight, model.blocks[3].mlp.fc1.weight
    assert np.array_equal(first.numpy(), second.numpy())


def test_a_narrower_head_does_not_fit_in_silence(tmp_path):
    path = written(made("light"), tmp_path / "model.safetensors")
    report = load_pretrained(made("light", head_channels=4), path)
    assert "head.smooth.0.weight" in report.missing
    with pytest.raises(CheckpointError, match="patch_embed"):
        load_pretrained(made("light", in_chans=1), path)


@pytest.mark.parametrize("head", ["upernet", "light"])
def test_the_head_has_the_full_rate(head):
    model = made(head)
    scales = layer_scales(model, 0.5)
    assert all(scale == 1.0 for name, scale in scales.items() if name.startswith("head."))
    assert scales["pos_embed"] == scales["patch_embed.proj.weight"] == 0.5**5
    assert scales["blocks.3.attn.qkv.weight"] == 0.5
    decayed = {name for name, parameter in model.named_parameters() if decays(name, parameter)}
    convolutions = {n for n, p in model.named_parameters() if n.startswith("head.") and p.ndim == 4}
    assert convolutions <= decayed
    assert "pos_embed" not in decayed
    assert not any(name.endswith("bias") for name in decayed)
