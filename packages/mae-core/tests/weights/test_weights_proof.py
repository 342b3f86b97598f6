"""Converted weights give what transformers and timm give: loss, prediction, mask, logits and every gradient.

The golden file was computed by them (`weights_reference.py`); where they are installed they are asked again.
"""

import importlib.util
from pathlib import Path

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.load import load_model
from mae_core.weights.sources import read_weights
from mae_core.weights.translate import from_ours

_spec = importlib.util.spec_from_file_location("weights_reference", Path(__file__).with_name("weights_reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

LIMIT = 1e-5  # float32, of the largest number of each tensor; measured: 3e-6 or less
MAE, VIT = reference.MAE_CASES, reference.VIT_CASES


@pytest.fixture(scope="module")
def golden():
    with np.load(reference.GOLDEN) as file:
        return {key: file[key] for key in file.files}


def expected(golden, case):
    return {key.partition("/")[2]: value for key, value in golden.items() if key.startswith(f"{case}/")}


def gradients(model, layout, patch_size):
    grads = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return {f"grad/{name}": grad for name, grad in from_ours(grads, LAYOUTS[layout], patch_size)[0].items()}


def comparable(results):
    """A key bias does not move a softmax: its true gradient is zero, and what is computed is rounding."""
    return {key: value for key, value in results.items() if not key.endswith("attention.key.bias")}


def compare(ours, theirs):
    ours, theirs = comparable(ours), comparable(theirs)
    assert ours.keys() == theirs.keys()
    errors = {key: reference.relative_error(value, theirs[key]) for key, value in ours.items()}
    assert max(errors.values()) < LIMIT, max(errors.items(), key=lambda item: item[1])
    return max(errors.values())


def ours_mae(path, config):
    model = MaskedAutoencoderViT(**read_weights(path).architecture().known())
    load_model(path, model)
    images, noise, _ = map(paddle.to_tensor, reference.inputs_of(config))
    loss, pred, mask = model(images, config["mask_ratio"], noise=noise)
    loss.backward()
    result = {"loss": loss.item(), "pred": pred.numpy(), "mask": mask.numpy()}
    return {**result, **gradients(model, "huggingface", config["patch_size"])}


def ours_vit(path, config, layout, **facts):
    known = {**read_weights(path).architecture().known(), **facts}
    model = VisionTransformer(**known)
    load_model(path, model)
    images, _, factors = map(paddle.to_tensor, reference.inputs_of(config))
    logits = model(images)
    (logits * factors).sum().backward()
    return {"logits": logits.numpy(), **gradients(model, layout, config["patch_size"])}


@pytest.mark.parametrize("case", MAE)
def test_masked_autoencoder_equals_transformers(tmp_path, golden, case):
    compare(ours_mae(reference.write_folder(tmp_path, MAE[case]), MAE[case]), expected(golden, case))


def test_classifier_equals_transformers(tmp_path, golden):
    config = VIT["huggingface_token"]
    ours = ours_vit(reference.write_folder(tmp_path, config), config, "huggingface")
    compare(ours, expected(golden, "huggingface_token"))


@pytest.mark.parametrize("case", ["timm_token", "timm_average"])
def test_classifier_equals_timm(tmp_path, golden, case):
    config = VIT[case]
    file = tmp_path / "vit.safetensors"
    write_safetensors(file, reference.timm_arrays(config, case == "timm_average"), {})
    assert read_weights(file).source == "timm"
    ours = ours_vit(file, config, "timm", num_heads=config["num_attention_heads"], img_size=reference.sizes(config)[:2])
    compare(ours, expected(golden, case))


def test_golden_file_holds_what_it_claims(golden):
    assert {key.partition("/")[0] for key in golden} == {*MAE, *VIT}
    grads = [key for key in golden if key.startswith("square_norm_pix/grad/")]
    assert len(grads) == len(reference.arrays_of(MAE["square_norm_pix"])) - 2  # all but the fixed positions
    assert sum(file.stat().st_size for file in reference.GOLDEN.parent.iterdir()) < 300_000


def test_masked_autoencoder_equals_the_installed_transformers(tmp_path, golden):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    for case, config in MAE.items():
        folder = reference.write_folder(tmp_path / case, config)
        theirs = reference.run_mae(folder, config)
        print(case, compare(ours_mae(folder, config), theirs))


def test_exported_folders_load_in_transformers_as_they_are(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sizes = {"patch_size": 4, "in_chans": 1, "embed_dim": 16, "depth": 1, "num_heads": 4}
    decoder = {"decoder_embed_dim": 12, "decoder_depth": 1, "decoder_num_heads": 3}
    mae = MaskedAutoencoderViT(img_size=16, norm_pix_loss=False, **sizes, **decoder)
    vit = VisionTransformer(img_size=(8, 12), num_classes=5, global_pool=False, **sizes)
    for model, run, config in (
        (mae, reference.run_mae, {**MAE["grey_plain"], "image_size": 16, "patch_size": 4}),
        (vit, reference.run_vit, {**VIT["timm_token"], "image_size": [8, 12]}),
    ):
        folder = tmp_path / type(model).__name__
        file = save_own(folder.with_suffix(".safetensors"), model)
        convert(file, folder)
        theirs = run(folder, config)
        ours = ours_mae(folder, config) if model is mae else ours_vit(folder, config, "huggingface")
        print(type(model).__name__, compare(ours, theirs))


def save_own(file, model):
    import json

    from mae_core.weights.metadata import metadata_of

    header = {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())}
    write_safetensors(file, model_arrays(model), header)
    return file


def test_torch_reads_what_is_written_as_official(tmp_path):
    torch = pytest.importorskip("torch")
    model = mae_core.MaskedAutoencoderViT(img_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    file = save_own(tmp_path / "own.safetensors", model)
    convert(file, tmp_path / "official.pth")
    state = torch.load(tmp_path / "official.pth", weights_only=True)["model"]
    theirs, _ = from_ours(model_arrays(model), LAYOUTS["official"], 4)
    assert state.keys() == theirs.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), theirs[name], err_msg=name)
    # and the other way: what torch writes, in both of its formats, bfloat16 too
    for zipped in (True, False):
        torch.save({"model": state}, tmp_path / "again.pth", _use_new_zipfile_serialization=zipped)
        load_model(tmp_path / "again.pth", model)
        torch.save({n: t.bfloat16() for n, t in state.items()}, tmp_path / "half.pth")
        half = read_weights(tmp_path / "half.pth").arrays["norm.weight"]
        np.testing.assert_array_equal(half, state["norm.weight"].bfloat16().float().numpy())
