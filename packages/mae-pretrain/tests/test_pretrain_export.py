"""`mae-pretrain export`: features, or the autoencoder with its mask, from run folders and published files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file
from stage_runs import PRETRAIN

from mae_core.ops import masking_noise
from mae_core.weights.load import load_model
from mae_pretrain.build import build_model, eval_dataset
from mae_pretrain.cli import main
from mae_pretrain.config import RECIPE

TINY = PRETRAIN.tiny
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of one epoch on images that are not square."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    short = ["DATA.IMAGE_SIZE", "[16, 24]", "TRAIN.NUM_EPOCHS", "1", "TRAIN.WARMUP_EPOCHS", "0", "-batch_size", "8"]
    assert main(["-data_path", str(data), "-output", str(folder), *TINY, *short]) == 0
    return folder


@pytest.fixture(scope="module")
def model(run):
    trained = build_model(RECIPE.load(pairs=[*TINY, "DATA.IMAGE_SIZE", "[16, 24]"]))
    load_model(run, trained)
    trained.eval()
    return trained


def images(rows):
    return np.random.default_rng(0).integers(0, 256, (rows, 16, 24, 3), dtype=np.uint8)


def run_snippet(folder, tmp_path, **inputs):
    """Run the README's example as printed, in a process without this package."""
    np.savez(tmp_path / "inputs.npz", **inputs)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "exported/" in block]
    code = code.replace("exported/", f"{folder}/")
    code = code.replace(".json", ".pdmodel") if paddle.__version__.startswith("2.") else code
    script = (
        f"import zlib, numpy as np; given = np.load('{tmp_path}/inputs.npz'); images, noise = given.values()\n"
        f"{code}\nnp.savez('{tmp_path}/outputs', prediction, mask)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(np.load(tmp_path / "outputs.npz").values())


def test_a_trained_autoencoder_is_served_as_the_readme_prints_it(run, model, tmp_path):
    folder = tmp_path / "exported"
    assert main(["export", "-pretrained", str(run), "-output", str(folder), "--with-decoder"]) == 0
    noise = masking_noise(7, 0, np.arange(5), 24)
    prediction, mask = run_snippet(folder, tmp_path, images=images(5), noise=noise)
    _, expected, removed = model(paddle.to_tensor(images(5)), noise=paddle.to_tensor(noise))
    np.testing.assert_array_equal(mask, removed.numpy())
    np.testing.assert_array_equal(mask.sum(axis=1), 18)
    np.testing.assert_allclose(prediction, expected.numpy(), rtol=0, atol=1e-5 * float(expected.abs().max()))
    said = json.loads((folder / "export.json").read_text())
    assert (said["mask_ratio"], said["norm_pix_loss"], said["patch_size"]) == (0.75, True, 4)
    assert "6 patches" in said["inputs"][1]["values"]


def test_features_as_onnx(run, model, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
    pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    assert main(["export", "-pretrained", str(run), "-output", str(tmp_path / "e"), "--format", "onnx"]) == 0
    session = ort.InferenceSession(str(tmp_path / "e/model.onnx"), providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"images": images(5)})
    expected = model.forward_features(paddle.to_tensor(images(5))).numpy()
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def encoder_file(run, tmp_path):
    """The weights of the encoder alone, without a config."""
    (file,) = run.glob("checkpoints/step_*/model.safetensors")
    arrays = {name: array for name, array in load_file(file).items() if not name.startswith(("decoder", "mask_token"))}
    save_file(
        arrays, tmp_path / "encoder.safetensors", {"format": "mae-core", "architecture": '{"img_size": [16, 24]}'}
    )
    return tmp_path / "encoder"


def test_features_need_no_decoder_the_autoencoder_does(encoder_file, tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(f"DATA: {{IMAGE_SIZE: [16, 24]}}\nMODEL: {{MASK_RATIO: 0.5}}\nSAVE: {tmp_path}\n")
    words = ["export", "-cfg", str(config), "-pretrained", str(encoder_file), "-output", str(tmp_path / "e"), *TINY[2:]]
    assert main(words) == 0
    said = json.loads((tmp_path / "e/export.json").read_text())
    assert [(port["holds"], port["shape"]) for port in said["outputs"]] == [("features", ["N", 25, 16])]
    assert main([*words, "--with-decoder"]) == 4
    error = capsys.readouterr().err.splitlines()[-1]
    assert "has no decoder, which --with-decoder needs: name a pre-training run" in error
    assert error.startswith("error: ")
    assert said == json.loads((tmp_path / "e/export.json").read_text()), "the earlier export is gone"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([], 2, ["-pretrained"]),
        (["-pretrained", "/nowhere/x"], 4, ["/nowhere/x"]),
        (["-pretrained", "{encoder}"], 4, ["does not hold how many heads", "add MODEL.ENCODER.NUM_HEADS NUMBER"]),
        (
            ["-pretrained", "{encoder}", "--with-decoder", "MODEL.ENCODER.NUM_HEADS", "2"],
            4,
            ["has no decoder"],
        ),
        (["-pretrained", "{run}", "MODEL.ENCODER.DEPTH", "2"], 4, ["MODEL.ENCODER.DEPTH is 1 in these weights"]),
        (["-pretrained", "{run}", "--with-decoder", "MODEL.MASK_RATIO", "0"], 2, ["MODEL.MASK_RATIO=0"]),
        (["-pretrained", "{run}", "--with-decoder", "MODEL.MASK_RATIO", "0.99"], 2, ["none of 24 patches"]),
        (
            ["-pretrained", "{run}", "--with-decoder", "MODEL.NORM_PIX_LOSS", "False"],
            4,
            ["norm_pix_loss is True", "set norm_pix_loss to True"],
        ),
        (["-pretrained", "{run}", "-output", "{run}"], 2, ["holds other files"]),
    ],
)
def test_user_errors_are_one_line(args, code, words, run, encoder_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *[a.format(run=run, encoder=encoder_file) for a in args]]) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    for word in words:
        assert word in lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.safetensors"]


@pytest.mark.parametrize("kind", ["--int8", "--bf16"])
def test_narrow_features_are_compared_by_cosine(kind, run, model, data, tmp_path, capsys):
    ort = pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
    pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    assert main(["export", "-pretrained", str(run), "-output", str(tmp_path / "e"), kind]) == 0
    said = json.loads((tmp_path / "e/export.json").read_text())["narrowed"]
    assert f"images of val_list.txt: outputs have a cosine of {said['agreement']:.5f}" in capsys.readouterr().out
    session = ort.InferenceSession(str(tmp_path / "e/model.onnx"), providers=["CPUExecutionProvider"])
    dataset = eval_dataset(
        RECIPE.load(flags={"DATA.DATA_PATH": str(data), "DATA.IMAGE_SIZE": [16, 24]}, pairs=TINY[2:])
    )
    cosines = []
    for pixels, *_ in (dataset[i] for i in range(len(dataset))):
        narrow = session.run(None, {"images": pixels[None]})[0].ravel().astype(np.float64)
        exact = model.forward_features(paddle.to_tensor(pixels[None])).numpy().ravel().astype(np.float64)
        cosines.append(narrow @ exact / np.linalg.norm(narrow) / np.linalg.norm(exact))
    assert said["agreement"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert 0.98 < said["agreement"] < 1 - 1e-9
