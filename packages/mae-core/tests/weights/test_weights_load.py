"""`load_pretrained`: what fits is loaded, what does not is reported or refused; positions resize as in PyTorch."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.errors import CheckpointError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.adaptation import resize_positions
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.load import load_model
from mae_core.weights.metadata import metadata_of

_spec = importlib.util.spec_from_file_location("weights_reference", Path(__file__).with_name("weights_reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

SIZES = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def mae(**kwargs):
    decoder = {"decoder_embed_dim": 12, "decoder_depth": 1, "decoder_num_heads": 3}
    return MaskedAutoencoderViT(**{"img_size": 16, **SIZES, **decoder, **kwargs})


def vit(**kwargs):
    return VisionTransformer(**{"img_size": 16, "num_classes": 5, **SIZES, **kwargs})


def save(file, model, drop=()):
    arrays = {name: array for name, array in model_arrays(model).items() if not name.startswith(drop)}
    write_safetensors(file, arrays, {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())})
    return file


def official(tmp_path, model, drop=()):
    """The same weights as the official code publishes them."""
    convert(save(tmp_path / "own.safetensors", model, drop), tmp_path / "official.pth")
    return tmp_path / "official.pth"


DECODER = ("decoder", "mask_token")


def test_a_matching_file_loads_whole(tmp_path):
    model, other = mae(), mae()
    report = mae_core.load_pretrained(other, official(tmp_path, model))
    assert (report.missing, report.unexpected, report.resized, report.source) == ([], [], {}, "official")
    assert sorted(report.loaded) == sorted(model.state_dict())
    for name, array in model_arrays(model).items():
        np.testing.assert_array_equal(array, other.state_dict()[name].numpy(), err_msg=name)


def test_an_encoder_goes_into_a_whole_model_and_back(tmp_path):
    encoder, whole = mae(), mae()
    decoder_before = whole.decoder_embed.weight.numpy()
    report = mae_core.load_pretrained(whole, official(tmp_path, encoder, DECODER))
    assert report.unexpected == []
    assert report.missing
    assert all(name.startswith(DECODER) for name in report.missing)
    assert (
        report.lines()[1] == f"the file holds no decoder: its {len(report.missing)} tensors keep their initial values"
    )
    np.testing.assert_array_equal(whole.blocks[1].mlp.fc2.weight.numpy(), encoder.blocks[1].mlp.fc2.weight.numpy())
    np.testing.assert_array_equal(whole.decoder_embed.weight.numpy(), decoder_before)
    with pytest.raises(CheckpointError, match=r"missing decoder_blocks\.0"):
        load_model(tmp_path / "official.pth", whole)  # exact, for scoring and pictures

    classifier = vit()
    report = mae_core.load_pretrained(classifier, official(tmp_path, whole))
    assert sorted(report.missing) == ["fc_norm.bias", "fc_norm.weight", "head.bias", "head.weight"]
    assert {"norm.weight", "norm.bias", "mask_token"} < set(report.unexpected)
    np.testing.assert_array_equal(classifier.cls_token.numpy(), whole.cls_token.numpy())

    report = mae_core.load_pretrained(mae(), official(tmp_path, classifier))
    assert {"norm.weight", "norm.bias", "mask_token"} < set(report.missing)
    assert sorted(report.unexpected) == ["fc_norm.bias", "fc_norm.weight", "head.bias", "head.weight"]


def test_a_head_of_other_classes_is_left_out(tmp_path):
    model = vit(num_classes=7)
    before = model.head.weight.numpy()
    report = mae_core.load_pretrained(model, official(tmp_path, vit()))
    assert sorted(report.missing) == sorted(report.unexpected) == ["head.bias", "head.weight"]
    np.testing.assert_array_equal(model.head.weight.numpy(), before)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"depth": 3}, r"missing blocks\.2\."),
        ({"depth": 1}, r"unexpected blocks\.1\."),
        ({"embed_dim": 24}, r"has shape \[.*16\], the model \[.*24\]"),
        ({"in_chans": 1}, r"patch_embed\.proj\.weight has shape \[48, 16\], the model \[16, 16\]"),
        ({"patch_size": 8}, r"patch_embed\.proj\.weight has shape"),
        ({"qkv_bias": False}, r"unexpected blocks\.0\.attn\.qkv\.bias"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, change, named):
    model = mae(**change)
    before = model_arrays(model)
    with pytest.raises(CheckpointError, match=named) as error:
        mae_core.load_pretrained(model, official(tmp_path, mae()))
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
    for name, array in before.items():
        np.testing.assert_array_equal(array, model.state_dict()[name].numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("saved", "change", "named"),
    [
        ({}, {"num_heads": 4}, "num_heads is 2, the model's 4"),
        ({}, {"decoder_num_heads": 4}, "decoder_num_heads is 3, the model's 4"),
        (
            {"in_chans": 1},
            {"patch_size": 2, "in_chans": 4},
            "patch_size is 4, the model's 2; in_chans is 1, the model's 4",
        ),
    ],
)
def test_what_no_shape_shows_is_compared_where_the_file_tells_it(tmp_path, saved, change, named):
    file, model = save(tmp_path / "own.safetensors", mae(**saved)), mae(**{**saved, **change})
    before = model_arrays(model)
    for load in (lambda: mae_core.load_pretrained(model, file), lambda: load_model(file, model)):
        with pytest.raises(
            CheckpointError, match=re.escape(f"own.safetensors does not fit this model: {named}")
        ) as error:
            load()
        assert error.value.exit_code == 4
    for name, array in before.items():
        np.testing.assert_array_equal(array, model.state_dict()[name].numpy(), err_msg=name)


def test_what_is_not_told_or_not_loaded_is_not_compared(tmp_path):
    mae_core.load_pretrained(mae(num_heads=4), official(tmp_path, mae()))  # the official format has no such fact
    encoder = save(tmp_path / "encoder.safetensors", mae(), DECODER)  # its header still names the decoder's heads
    mae_core.load_pretrained(mae(decoder_num_heads=4), encoder)
    mae_core.load_pretrained(mae(img_size=32, norm_pix_loss=False), save(tmp_path / "own.safetensors", mae()))


@pytest.mark.parametrize("trained", [True, False])
def test_scoring_and_pictures_need_the_target_that_the_weights_tell(tmp_path, trained):
    """Training may go on with another."""
    file = save(tmp_path / "own.safetensors", mae(norm_pix_loss=trained))
    other = mae(norm_pix_loss=not trained)
    before = model_arrays(other)
    for load in (lambda: load_model(file, other), lambda: mae_core.load_pretrained(other, file, same_target=True)):
        with pytest.raises(CheckpointError, match=rf"norm_pix_loss is {trained}.*set norm_pix_loss to {trained}$"):
            load()
    np.testing.assert_array_equal(before["mask_token"], other.mask_token.numpy())
    load_model(file, mae(norm_pix_loss=trained))
    assert mae_core.load_pretrained(other, file).missing == []
    encoder = save(tmp_path / "encoder.safetensors", mae(norm_pix_loss=trained), DECODER)
    mae_core.load_pretrained(other, encoder, same_target=True)  # nothing of it predicts pixels


def test_the_official_visualize_weights_need_plain_pixels(tmp_path):
    official(tmp_path, mae()).rename(tmp_path / "mae_visualize_vit_base.pth")
    with pytest.raises(CheckpointError, match=r"set norm_pix_loss to False"):
        load_model(tmp_path / "mae_visualize_vit_base", mae(norm_pix_loss=True))
    load_model(tmp_path / "mae_visualize_vit_base", mae(norm_pix_loss=False))


def test_parameters_that_no_model_of_ours_has_are_refused(tmp_path):
    arrays = dict(mae_core.weights.sources.read_file(official(tmp_path, vit())).arrays)
    arrays["blocks.0.ls1.gamma"] = np.ones(16, np.float32)
    write_safetensors(tmp_path / "scaled.safetensors", arrays, {})
    for load in (
        lambda: mae_core.load_pretrained(vit(), tmp_path / "scaled"),
        lambda: load_model(tmp_path / "scaled", vit()),
    ):
        with pytest.raises(CheckpointError, match=r"unexpected blocks\.0\.ls1\.gamma"):
            load()


@pytest.mark.parametrize("grids", reference.RESIZES)
def test_resized_positions_equal_torch(grids):
    h, w, rows, columns = grids
    with np.load(reference.GOLDEN.with_name("positions.npz")) as golden:
        expected = golden[f"{h}x{w}_{rows}x{columns}"]
    found = resize_positions(reference.positions((h, w)), (h, w), (rows, columns))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # of numbers up to 2.3


def test_positions_of_another_size_are_resized_and_said(tmp_path):
    small, large = mae(), mae(img_size=(12, 24))
    report = mae_core.load_pretrained(large, official(tmp_path, small))
    assert report.resized == {"pos_embed": ((4, 4), (3, 6)), "decoder_pos_embed": ((4, 4), (3, 6))}
    assert "pos_embed resized from 4x4 to 3x6 patches" in report.lines()
    expected = resize_positions(small.pos_embed.numpy(), (4, 4), (3, 6))
    np.testing.assert_array_equal(large.pos_embed.numpy(), expected)
    report = mae_core.load_pretrained(vit(img_size=32), save(tmp_path / "large.safetensors", large))
    assert report.resized == {"pos_embed": ((3, 6), (8, 8))}  # our files tell their grid


def test_a_grid_that_nobody_can_know_is_not_guessed(tmp_path):
    wide = mae(img_size=(8, 32))  # 2x8 patches, as many as 4x4
    file = official(tmp_path, wide)
    with pytest.raises(CheckpointError, match=r"16 positions in a grid that it does not record, the model 2x8"):
        mae_core.load_pretrained(mae(img_size=(8, 32)), file)
    convert(file, tmp_path / "stated.safetensors", settings={"img_size": (8, 32)})
    assert mae_core.load_pretrained(mae(img_size=(8, 32)), tmp_path / "stated").resized == {}
    oblong = official(tmp_path, mae(img_size=(8, 12)))  # 2x3: no square, so it can only be the model's
    assert mae_core.load_pretrained(mae(img_size=(8, 12)), oblong).resized == {}
    with pytest.raises(CheckpointError, match="6 positions"):
        mae_core.load_pretrained(mae(), oblong)


def test_half_precision_files_are_widened(tmp_path):
    model = mae()
    arrays = {name: array.astype(np.float16) for name, array in model_arrays(model).items()}
    write_safetensors(tmp_path / "half.safetensors", arrays, {"format": "mae-core"})
    mae_core.load_pretrained(model, tmp_path / "half")
    assert model.cls_token.dtype == paddle.float32
    np.testing.assert_array_equal(model.cls_token.numpy(), arrays["cls_token"].astype(np.float32))
