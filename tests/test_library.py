"""The packages as a library: from a folder of photographs to predictions in a few calls, without a command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from stage_runs import PRETRAIN, PROBE, assert_same, records, write_images

import mae_core
import mae_data
import mae_finetune
import mae_pretrain
import mae_probe
from mae_core.errors import ConfigError, UserError

QUICK = {"DATA.NUM_WORKERS": 0, "MODEL.ENCODER.DEPTH": 1, "REPORT_FREQ": 2}
DECODER = {"MODEL.DECODER.EMBED_DIM": 8, "MODEL.DECODER.DEPTH": 1, "MODEL.DECODER.NUM_HEADS": 2}
CLASSIFIER = {**QUICK, "DATA.BATCH_SIZE": 8}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_images(root, "train", 26)
    write_images(root, "val", 9)
    return root


@pytest.fixture(scope="module")
def files(photos):
    return sorted((photos / "val").rglob("*.jpg"))


@pytest.fixture(scope="module")
def pretrained(photos, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    settings = {**QUICK, **DECODER}
    trainer = mae_pretrain.pretrain(
        photos, output=run, model="mae_vit_tiny_patch16", epochs=20, batch_size=13, image_size=32, settings=settings
    )
    assert trainer.step == 40
    return run


def config_of(run):
    return yaml.safe_load((run / "config.yaml").read_text())


def test_a_preset_makes_the_model_and_the_warm_up_keeps_its_share(pretrained):
    config = config_of(pretrained)
    assert config["MODEL"]["NAME"] == "vit_width192_depth1_heads3_patch16_32"  # no longer the preset
    assert config["MODEL"]["ENCODER"] == {"EMBED_DIM": 192, "DEPTH": 1, "NUM_HEADS": 3}
    assert config["TRAIN"]["WARMUP_EPOCHS"] == 1  # 40 of 800


def test_the_curve_of_a_short_run_has_forty_points(pretrained):
    losses = [r["loss"] for r in records(pretrained) if r["kind"] == "train"]
    assert len(losses) == 40, "REPORT_FREQ 2 would leave 20"
    assert len(set(losses)) == 40


def test_pretraining_is_the_commands(pretrained, photos, tmp_path):
    words = [word for key, value in {**QUICK, **DECODER}.items() for word in (key, value)]
    shape = ["MODEL.ENCODER.EMBED_DIM", 192, "MODEL.ENCODER.NUM_HEADS", 3, "TRAIN.WARMUP_EPOCHS", 1]
    epochs = ["TRAIN.NUM_EPOCHS", 20, "-image_size", 32, "-batch_size", 13]
    done = PRETRAIN.start("-data_path", photos, "-output", tmp_path / "run", *epochs, *shape, *words)
    assert done.returncode == 0, done.stderr
    assert_same(pretrained, tmp_path / "run", atol=1e-6)  # equal where Paddle was imported under the same settings


def test_a_dry_run_of_the_same_arguments_writes_nothing(photos, tmp_path, capsys):
    arguments = {"model": "mae_vit_tiny_patch16", "epochs": 20, "batch_size": 13, "image_size": 32}
    mae_pretrain.dry_run(photos, output=tmp_path / "run", settings={**QUICK, **DECODER}, **arguments)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("data: 26 training images") for line in lines)
    assert any(line.startswith("steps: 40 of 13 images, 2 per epoch") for line in lines)
    assert not (tmp_path / "run").exists()
    with pytest.raises(TypeError, match="epoch"):
        mae_pretrain.dry_run(photos, output=tmp_path / "run", epoch=3)


def test_a_cell_can_be_run_again(photos, tmp_path, capsys):
    """The first call's trainer, and the traceback of what went wrong, are still there in a notebook."""
    arguments = {"output": tmp_path / "run", "model": "mae_vit_tiny_patch16", "batch_size": 13, "image_size": 32}
    settings = {**QUICK, **DECODER}
    first = mae_pretrain.pretrain(photos, epochs=1, settings=settings, **arguments)
    again = mae_pretrain.pretrain(photos, epochs=1, settings=settings, resume="auto", **arguments)
    assert first.step == again.step == 2
    assert "nothing to train" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds a run already") as kept:
        mae_pretrain.pretrain(photos, epochs=1, settings=settings, **arguments)
    longer = mae_pretrain.pretrain(photos, epochs=2, settings=settings, resume="auto", **arguments)
    assert longer.step == 4
    assert kept.traceback


def test_the_same_network_untrained(pretrained):
    import paddle

    paddle.seed(0)
    model, trained = mae_core.load(pretrained, random_init=True), mae_core.load(pretrained)
    assert repr(model) == repr(trained)
    assert not np.allclose(model.blocks[0].attn.qkv.weight.numpy(), trained.blocks[0].attn.qkv.weight.numpy())


def test_knn_on_arrays_and_attention_as_pictures(pretrained, files):
    found = mae_probe.features(pretrained, files)
    names = [file.parent.name for file in files]
    assert mae_probe.knn_top1(found, names, found, names, k=1) == 100.0
    pixels = mae_data.preprocess(files, 32)
    assert mae_probe.knn_top1(pixels, names, pixels, names, k=1) == 100.0
    for wrong, words in (
        ({"k": 10}, "k=10 for 9 training images"),
        ({"val": found[:, :5]}, "val 5"),
        ({"train_labels": names[1:]}, "for 8 labels"),
        ({"val": found * np.nan}, "not finite"),
    ):
        arguments = {"train": found, "train_labels": names, "val": found, "val_labels": names, **wrong}
        with pytest.raises(UserError, match=words):
            mae_probe.knn_top1(**arguments)
    maps = mae_probe.attention_maps(pretrained, files[:2])
    assert (maps.heads.shape, maps.rollout.shape) == ((2, 3, 2, 2), (2, 2, 2))
    assert (maps.heads.sum(axis=(2, 3)) < 1).all()  # the rest goes to the class token itself
    np.testing.assert_array_equal(maps.pictures, mae_data.preprocess(files[:2], 32))
    assert maps._repr_png_().startswith(b"\x89PNG")
    model = mae_core.load(pretrained)
    np.testing.assert_allclose(mae_probe.attention_maps(model, files[0]).heads[0], maps.heads[0], rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="no attention"):
        mae_probe.attention_maps(__import__("paddle").nn.Linear(2, 2), files[0])


def test_reconstructions_are_pictures_of_any_input(pretrained, files, tmp_path):
    pictures = mae_pretrain.reconstruct(pretrained, files[:2], seed=3)
    assert pictures.original.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(pictures.original, mae_data.preprocess(files[:2], 32, 0.875))
    assert pictures.mask.sum(axis=1).tolist() == [3, 3]  # three of four patches
    seen = np.kron(1 - pictures.mask.reshape(2, 2, 2), np.ones((16, 16)))[..., None].astype(bool)
    np.testing.assert_array_equal(np.where(seen, pictures.pasted, 0), np.where(seen, pictures.original, 0))
    assert (np.where(seen, 128, pictures.masked) == 128).all()
    model = mae_core.load(pretrained)
    model.train()
    again = mae_pretrain.reconstruct(model, [Image.open(files[0]), np.asarray(Image.open(files[1]))], seed=3)
    assert model.training
    np.testing.assert_array_equal(again.pasted, pictures.pasted)
    assert repr(again) == f"Pictures(2 of 32x32, loss {pictures.loss:.4f})"
    assert again._repr_png_().startswith(b"\x89PNG")
    assert (mae_pretrain.reconstruct(model, files[:2], seed=4).mask != pictures.mask).any()


def test_features_are_those_of_the_command(pretrained, photos, files, tmp_path):
    (photos / "all.txt").write_text("".join(f"{file.relative_to(photos)} 0\n" for file in files))
    shape = {"MODEL.ENCODER.EMBED_DIM": 192, "MODEL.ENCODER.NUM_HEADS": 3, **QUICK}
    words = ["-pretrained", pretrained, "-data_path", photos, "-image_size", 32, "--list", "all.txt"]
    done = PROBE.start("features", *words, "-output", tmp_path / "f.npz", *(x for pair in shape.items() for x in pair))
    assert done.returncode == 0, done.stderr
    found = mae_probe.features(pretrained, files, batch_size=4)
    np.testing.assert_allclose(found, np.load(tmp_path / "f.npz")["features"], rtol=0, atol=1e-5)
    model = mae_core.load(pretrained)
    mean = mae_probe.features(model, files[0], pool="mean")
    import paddle

    tokens = model.forward_features(paddle.to_tensor(mae_data.preprocess(files[0], 32)))
    np.testing.assert_allclose(mean, tokens[:, 1:].mean(axis=1).numpy(), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def tuned(pretrained, photos, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tuned"
    settings = {**CLASSIFIER, "TRAIN.BASE_LR": 0.01}
    mae_finetune.finetune(
        photos, output=run, model="vit_tiny_patch16", pretrained=pretrained, epochs=5, image_size=32, settings=settings
    )
    return run


def test_fine_tuning_counts_the_classes_and_predictions_name_them(tuned, files):
    assert config_of(tuned)["MODEL"]["NUM_CLASSES"] == 3
    said = mae_finetune.predict(tuned, files, topk=1)
    hits = [p.guesses[0].name == Path(p.image).parent.name for p in said]
    assert sum(hits) >= 7
    model = mae_core.load(tuned)
    assert model.class_names == ["class 0", "class 1", "class 2"]
    with pytest.raises(UserError, match="tuned has no decoder"):
        mae_pretrain.reconstruct(tuned, files[0])


def test_an_export_from_python_is_the_commands(tuned, files, tmp_path, capfd):
    import json

    import paddle

    said = mae_finetune.export_classifier(tuned, tmp_path / "exported")
    assert "largest difference to the model" in said
    assert capfd.readouterr().err == ""  # Paddle's remarks on graphs
    about = json.loads((tmp_path / "exported/export.json").read_text())
    assert about["class_names"] == ["class 0", "class 1", "class 2"]
    assert paddle.get_device() == "cpu"
    with pytest.raises(UserError, match="'torch' is not known; use paddle or onnx"):
        mae_finetune.export_classifier(tuned, tmp_path / "other", file_format="torch")


@pytest.mark.parametrize("global_pool", [False, True])
def test_a_probe_comes_back_with_its_batch_norm_in_the_classifier(global_pool, pretrained, photos, files, tmp_path):
    settings = {**CLASSIFIER, "TRAIN.BASE_LR": 5.0, "MODEL.GLOBAL_POOL": global_pool}
    trainer = mae_probe.probe(
        photos, output=tmp_path / "p", model="vit_tiny_patch16", pretrained=pretrained, epochs=3, image_size=32,
        settings=settings,
    )  # fmt: skip
    import paddle

    images = paddle.to_tensor(mae_data.preprocess(files, 32))
    trainer.model.eval()
    expected = trainer.model(images).numpy()
    found = mae_core.load(tmp_path / "p")(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_what_a_call_cannot_do_is_said(photos, tmp_path):
    with pytest.raises(UserError, match="'vit_tine' is not known"):
        mae_pretrain.pretrain(photos, output=tmp_path / "x", model="vit_tine")
    with pytest.raises(ConfigError, match=r"TRAIN\.BASE_LT is not known"):
        mae_pretrain.pretrain(photos, output=tmp_path / "x", settings={"TRAIN.BASE_LT": 1})
    with pytest.raises(TypeError, match="epoch"):
        mae_pretrain.pretrain(photos, output=tmp_path / "x", epoch=3)
    with pytest.raises(UserError, match="pool='max'"):
        mae_probe.features(tmp_path, [], pool="max")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("package", ["mae_core", "mae_data", "mae_pretrain", "mae_finetune", "mae_probe"])
def test_importing_and_completing_a_package_needs_no_paddle(package):
    code = (
        f"import sys, {package}; assert dir({package}) == sorted({package}.__all__); assert 'paddle' not in sys.modules"
    )
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
