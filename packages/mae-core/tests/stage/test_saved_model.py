"""`mae_core.load`: the right model of any source, with its weights, ready to evaluate."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

import mae_core
from mae_core import MaskedAutoencoderViT, VisionTransformer
from mae_core.errors import CheckpointError
from mae_core.training.checkpoints.checkpoint import model_arrays, save_checkpoint
from mae_core.training.optim import build_adamw
from mae_core.weights import checkpoint_folder, sources
from mae_core.weights.checkpoint_state import State
from mae_core.weights.convert import convert
from mae_core.weights.metadata import metadata_of

SMALL = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 4, "drop_path_rate": 0.5}
DECODER = {"decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2, "norm_pix_loss": False}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)


def save(file, model, header=True):
    metadata = {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())} if header else {}
    save_file(model_arrays(model), file, metadata=metadata)
    return file


def features(model, images=IMAGES):
    model.eval()
    return model.forward_features(paddle.to_tensor(images)).numpy()


def test_a_run_s_weights_are_verified_and_read_once_and_its_optimizer_never(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    model = MaskedAutoencoderViT(**SMALL, **DECODER)
    save_checkpoint(tmp_path / "checkpoints", model, build_adamw(model), State(3, config={}))
    verified, read = [], []
    sums, read_file = checkpoint_folder.sha256, sources.read_file
    monkeypatch.setattr(checkpoint_folder, "sha256", lambda file: verified.append(file.name) or sums(file))
    monkeypatch.setattr(sources, "read_file", lambda file: read.append(file.name) or read_file(file))
    mae_core.load(tmp_path)
    assert (verified, read) == (["model.safetensors"], ["model.safetensors"])


def test_an_autoencoder_of_a_run_comes_back_whole(tmp_path):
    model = MaskedAutoencoderViT(**SMALL, **DECODER, pixel_mean=[0.1, 0.2, 0.3], pixel_std=[0.4, 0.5, 0.6])
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    save_checkpoint(tmp_path / "run/checkpoints", model, build_adamw(model), State(3, config={}))
    again = mae_core.load(tmp_path / "run")
    assert type(again) is MaskedAutoencoderViT
    assert not again.training
    assert (again.pixel_mean, again.norm_pix_loss) == ((0.1, 0.2, 0.3), False)
    np.testing.assert_array_equal(features(again), features(model))


@pytest.mark.parametrize("target", ["a.pth", "a.safetensors", "folder"])
def test_other_formats_give_the_same_model(target, tmp_path):
    model = MaskedAutoencoderViT(**SMALL | {"img_size": 8}, **DECODER | {"norm_pix_loss": True})
    convert(save(tmp_path / "own.safetensors", model), tmp_path / target)
    facts = {} if target != "a.pth" else {"num_heads": 4, "decoder_num_heads": 2}
    again = mae_core.load(tmp_path / target, **facts)
    assert type(again) is MaskedAutoencoderViT
    images = np.ascontiguousarray(IMAGES[:, :, :8])
    np.testing.assert_array_equal(features(again, images), features(model, images))


@pytest.mark.parametrize("global_pool", [True, False])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_classifiers_come_back_with_and_without_head(global_pool, num_classes, tmp_path):
    names = ["a", "b", "c"] if num_classes else None
    model = VisionTransformer(**SMALL, num_classes=num_classes, global_pool=global_pool, class_names=names)
    again = mae_core.load(save(tmp_path / "own.safetensors", model))
    assert type(again) is VisionTransformer
    assert again.class_names == names
    model.eval()
    images = paddle.to_tensor(IMAGES)
    np.testing.assert_array_equal(again(images).numpy(), model(images).numpy())


def test_pixel_statistics_of_older_checkpoints_are_those_of_their_config(tmp_path, monkeypatch):
    old = replace(metadata_of(MaskedAutoencoderViT(**SMALL, **DECODER)), pixel_mean=None, pixel_std=None)
    monkeypatch.setattr("mae_core.training.checkpoints.checkpoint.metadata_of", lambda model: old)
    model = MaskedAutoencoderViT(**SMALL, **DECODER)
    config = {"DATA": {"IMAGENET_MEAN": [0.1, 0.2, 0.3], "IMAGENET_STD": [0.4, 0.5, 0.6]}}
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints", model, build_adamw(model), State(3, config=config))
    assert mae_core.load(tmp_path).pixel_mean == (0.1, 0.2, 0.3)


def test_what_cannot_be_a_model_is_named(tmp_path):
    model = MaskedAutoencoderViT(**SMALL, **DECODER)
    file = save(tmp_path / "bare.safetensors", model, header=False)
    with pytest.raises(
        CheckpointError, match=r"does not record img_size, num_heads, decoder_num_heads: load\(\.\.\., img"
    ):
        mae_core.load(file)
    arrays = model_arrays(model)
    del arrays["decoder_norm.bias"]
    save_file(
        arrays,
        tmp_path / "part.safetensors",
        metadata={"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())},
    )
    with pytest.raises(CheckpointError, match=r"has no decoder_norm\.bias"):
        mae_core.load(tmp_path / "part")
    with pytest.raises(CheckpointError, match=r"nope\.pth: no such file"):
        mae_core.load(tmp_path / "nope.pth")


def test_the_report_is_short_to_look_at(tmp_path):
    report = mae_core.load_pretrained(
        VisionTransformer(**SMALL), save(tmp_path / "a.safetensors", MaskedAutoencoderViT(**SMALL, **DECODER))
    )
    assert len(repr(report)) < 60 + len(str(tmp_path)) + 60
    assert repr(report).startswith(f"KeyReport({len(report.loaded)} tensors from {tmp_path}/a.safetensors (mae-core), ")
    assert repr(report).endswith(f"{len(report.missing)} missing, {len(report.unexpected)} unexpected)")


def test_arrays_are_refused_by_name():
    model = MaskedAutoencoderViT(**SMALL, **DECODER)
    with pytest.raises(TypeError, match=r"images are a ndarray, a tensor is needed: paddle\.to_tensor\(images\)"):
        model(IMAGES)
    with pytest.raises(TypeError, match=r"images are a ndarray"):
        model.forward_features(IMAGES)
    with pytest.raises(TypeError, match=r"mask is a ndarray"):
        model(paddle.to_tensor(IMAGES), mask=np.ones((2, 6)))
    with pytest.raises(TypeError, match=r"noise is a ndarray"):
        model(paddle.to_tensor(IMAGES), noise=np.ones((2, 6), np.float32))


PLANTED = """from mae_core import MaskedAutoencoderViT, build_model, load
build_model("mae_vit_bas_patch16")
build_model("vit_base_patch16", embed_dmi=192)
build_model("vit_base_patch16", depth="12")
build_model("vit_base_patch16", decoder_depth=1)
MaskedAutoencoderViT(img_sise=32)
load(3)
"""
SOUND = """from mae_core import build_model, load
build_model("mae_vit_base_patch16", img_size=(32, 64), decoder_depth=1)
build_model("vit_tiny_patch16", num_classes=10, class_names=["a"], drop_path_rate=0.1)
load("runs/photos").eval()
"""


def test_a_type_checker_finds_planted_errors(tmp_path):
    api = pytest.importorskip("mypy.api")
    root = Path(__file__).parents[4]
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "sound.py").write_text(SOUND)
    options = ["--config-file", str(root / "pyproject.toml"), "--cache-dir", str(root / ".mypy_cache")]
    out, _, code = api.run([*options, str(tmp_path / "planted.py"), str(tmp_path / "sound.py")])
    found = {
        int(line.split("planted.py:")[1].split(":")[0])
        for line in out.splitlines()
        if "planted.py:" in line and ": error:" in line
    }
    assert found == {2, 3, 4, 5, 6, 7}, out
    assert "sound.py" not in out
    assert code == 1
