"""`mae-finetune export`: from a trained run to logits in a process that has Paddle's inference engine alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image
from stage_runs import FINETUNE

import mae_data
from mae_core.weights.checkpoint_folder import find_weights, open_weights
from mae_core.weights.load import load_model
from mae_data import open_image
from mae_finetune.build import build_model, eval_dataset, load_for_evaluation
from mae_finetune.cli import main
from mae_finetune.config import RECIPE

TINY = FINETUNE.tiny
README = Path(__file__).parents[1] / "README.md"
IS_PADDLE2 = paddle.__version__.startswith("2.")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of one epoch with averaged weights."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    short = ["TRAIN.NUM_EPOCHS", "1", "TRAIN.WARMUP_EPOCHS", "0", "TRAIN.EMA", "0.5", "-batch_size", "8"]
    assert main(["-data_path", str(data), "-output", str(folder), *TINY, *short]) == 0
    return folder


def eager_logits(run, images):
    """The model of the run's averaged weights."""
    model = build_model(RECIPE.load(pairs=TINY))
    file = load_model(run, model)
    assert file.name == "ema.safetensors"
    model.eval()
    return model(paddle.to_tensor(images)).numpy()


def snippet(number):
    """The README's example of running an exported model."""
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)[number]


def run_snippet(number, folder, images, tmp_path):
    """Run the README's example as printed, in a process without this package."""
    np.save(tmp_path / "images.npy", images)
    code = snippet(number).replace("exported_onnx/", "exported/").replace("exported/", f"{folder}/")
    code = code.replace(".json", ".pdmodel") if IS_PADDLE2 else code
    script = (
        f"import zlib, numpy as np; images = np.load('{tmp_path}/images.npy')\n{code}\nnp.save('{tmp_path}/l', logits)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "l.npy")


def test_loading_tells_the_file_that_it_read(run):
    config = RECIPE.load(flags={"MODEL.PRETRAINED": str(run)}, pairs=TINY)
    assert load_for_evaluation(config, open_weights(run), build_model(config)).file == find_weights(run)


@pytest.mark.parametrize(("file_format", "number"), [("paddle", 2), ("onnx", 3)])
def test_a_trained_run_is_served_as_the_readme_prints_it(file_format, number, run, tmp_path, capsys, monkeypatch):
    if file_format == "onnx":
        pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    folder = tmp_path / "exported"
    monkeypatch.chdir(tmp_path)  # another folder than that of the training
    assert main(["export", "-pretrained", str(run), "-output", str(folder), "--format", file_format]) == 0
    assert re.search(
        rf"{folder}: largest difference to the model \S+, \S+ of the largest output", capsys.readouterr().out
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    logits, expected = run_snippet(number, folder, images, tmp_path), eager_logits(run, images)
    assert logits.shape == (5, 3)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    said = json.loads((folder / "export.json").read_text())
    assert said["source"]["file"] == str(find_weights(run))
    assert (said["classes"], said["class_names"]) == (3, ["class 0", "class 1", "class 2"])
    assert said["normalised_in_graph"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert said["prepare"] == {"scale_to_cover": [18, 18], "interpolation": "bicubic", "crop_centre": [16, 16]}


@pytest.mark.parametrize("flags", [["--int8"], ["--int8", "static"], ["--bf16"]])
def test_a_narrow_file_stands_beside_float32(flags, run, data, tmp_path, capsys):
    """Scored from outside: every validation image, by onnxruntime alone."""
    pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    onnxruntime, folder = pytest.importorskip("onnxruntime"), tmp_path / "exported"
    words = ["export", "-pretrained", str(run), "-output", str(folder), *flags, "--min-agreement", "0.5"]
    assert main(words) == 0
    said = json.loads((folder / "export.json").read_text())["narrowed"]
    printed = capsys.readouterr().out
    assert f"{said['kind']} beside float32, 7 images of val_list.txt: predictions agree on" in printed
    dataset = eval_dataset(RECIPE.load(flags={"DATA.DATA_PATH": str(data)}, pairs=TINY))
    images, labels, _ = map(np.stack, zip(*(dataset[i] for i in range(len(dataset))), strict=True))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    classes = np.array([session.run(None, {"images": image[None]})[0].argmax() for image in images])
    expected = eager_logits(run, images).argmax(axis=1)
    assert said["agreement"] == np.mean(classes == expected)
    assert said["top1"] == {
        "float32": pytest.approx(100 * np.mean(expected == labels)),
        said["kind"]: pytest.approx(100 * np.mean(classes == labels)),
    }
    assert said["bytes"][said["kind"]] == (folder / "model.onnx").stat().st_size < said["bytes"]["float32"]


def test_without_images_nothing_is_narrowed(run, tmp_path, capsys):
    pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    words = ["export", "-pretrained", str(run), "-output", str(tmp_path / "exported"), "--int8"]
    assert main([*words, "-data_path", "/nowhere"]) == 3
    assert "error: /nowhere" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [[16, 16], [24, 16]])
def test_the_readmes_preparation_is_that_of_evaluation(size, data, run, tmp_path, monkeypatch):
    height, width = size
    words = ["export", "-pretrained", str(run), "-output", str(tmp_path / "exported"), "DATA.IMAGE_SIZE", str(size)]
    assert main(words) == 0
    monkeypatch.chdir(tmp_path)
    for name, shape in (("cat", (37, 50)), ("dog", (61, 18))):
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{name}.jpg")
    found = {}
    exec(snippet(4), found)
    files = ["cat.jpg", "dog.jpg"]
    np.testing.assert_array_equal(found["images"], mae_data.preprocess(files, (height, width)))
    transform = eval_dataset(
        RECIPE.load(flags={"DATA.DATA_PATH": str(data), "DATA.IMAGE_SIZE": size}, pairs=TINY[2:])
    ).transform
    np.testing.assert_array_equal(found["images"], np.stack([transform(open_image(file)) for file in files]))


def test_another_image_size_resizes_the_positions(run, tmp_path, capsys):
    words = ["export", "-pretrained", str(run), "-output", str(tmp_path / "e"), "DATA.IMAGE_SIZE", "[24, 16]"]
    assert main(words) == 0
    assert "pos_embed resized from 4x4 to 6x4 patches" in capsys.readouterr().out
    said = json.loads((tmp_path / "e/export.json").read_text())
    assert said["inputs"][0]["shape"] == ["N", 24, 16, 3]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([], 2, ["-pretrained"]),
        (["-pretrained", "/nowhere/x"], 4, ["/nowhere/x"]),
        (["-pretrained", "{pretrained}"], 4, ["no classifier yet", "fine-tune it first"]),
        (["-pretrained", "{bare}", "MODEL.ENCODER.DEPTH", "3"], 4, ["MODEL.ENCODER.DEPTH is 2", "leave it out"]),
        (["-pretrained", "{run}", "MODEL.NUM_CLASSES", "4"], 4, ["head.weight", "MODEL.NUM_CLASSES=4"]),
        (["-pretrained", "{run}", "MODEL.NUM_CLASSES"], 2, ["KEY VALUE"]),
        (["-pretrained", "{run}", "-image_size", "18"], 2, ["18", "multiple of 4"]),
        (["-pretrained", "{run}", "-output", "{run}"], 2, ["holds other files"]),
        (["-pretrained", "{run}", "-output", "x.onnx"], 2, ["leave the suffix out"]),
        (["-pretrained", "{run}", "--format", "tflite"], 2, ["tflite", "--help"]),
        (["-pretrained", "{run}", "--int8", "--format", "paddle"], 2, ["int8", "leave --format paddle out"]),
        (["-pretrained", "{run}", "--int8", "--bf16"], 2, ["--int8", "--bf16"]),
        (["-pretrained", "{run}", "--int8", "--min-agreement", "98"], 2, ["98 is not a number from 0 to 1"]),
    ],
)
def test_user_errors_are_one_line(args, code, words, run, pretrained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(find_weights(run).read_bytes())
    assert main(["export", *[a.format(run=run, pretrained=pretrained, bare=bare) for a in args]]) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    for word in words:
        assert word in lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["bare.safetensors"]
