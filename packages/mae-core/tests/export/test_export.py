"""Exported models against NumPy float64: run by Paddle's inference engine alone, and by onnxruntime."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from mae_core.errors import CheckpointError, UserError
from mae_core.export import onnx_file, parity
from mae_core.export.model_folder import check_export, export_model
from mae_core.export.ports import Port, images_port
from mae_core.export.program import PROGRAMS, Signature, quiet
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.ops import draw_masking, fused
from mae_core.process.installation import pip_install
from mae_core.weights.metadata import Metadata
from mae_core.weights.sources import Weights

TESTS = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("numpy_mae", TESTS.parent / "models" / "numpy_mae.py")
numpy_mae = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(numpy_mae)

SIZES = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def onnx_refusal():
    try:
        onnx_file.require_onnx()
    except UserError as error:
        return str(error)
    return ""


FORMATS = ["paddle", pytest.param("onnx", marks=pytest.mark.skipif(bool(onnx_refusal()), reason=onnx_refusal()))]


def randomize(model):
    """Give every parameter values of its own: zeros and ones would hide a lost bias or norm."""
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        shift = rng.normal(0, 0.2, parameter.shape).astype("float32")
        parameter.set_value(parameter.numpy() + shift)
    return model


def classifier(**kwargs):
    model = randomize(VisionTransformer(num_classes=5, **{**SIZES, **kwargs}))
    ports = [images_port(model)], [Port("logits", (5,), "float32", "scores")]
    return model, lambda images: (model(images),), *ports


def encoder(**kwargs):
    model = randomize(
        MaskedAutoencoderViT(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2, **SIZES, **kwargs)
    )
    ports = [images_port(model)], [Port("features", (7, 16), "float32", "tokens")]
    return model, lambda images: (model.forward_features(images),), *ports


def autoencoder(**kwargs):
    model, _, images, _ = encoder(**kwargs)
    pixels = 16 * model.in_chans
    inputs = [*images, Port("noise", (6,), "float32", "0 to 1")]
    outputs = [Port("prediction", (6, pixels), "float32", "pixels"), Port("mask", (6,), "float32", "1 removed")]
    return model, lambda x, noise: model(x, 0.5, noise=noise)[1:], inputs, outputs


def weights_of(file):
    return Weights(file, "mae-core", {}, Metadata(), [], [])


def write(folder, parts, file_format="paddle", facts=None, narrowing=None):
    weights = folder.parent / "weights.bin"
    weights.write_bytes(b"weights")
    model, *signature = parts
    return export_model(folder, file_format, model, Signature(*signature), facts or {}, weights_of(weights), narrowing)


def serve(folder, file_format, tmp_path, *batches):
    """Run batches in a process that has nothing of ours; returns the outputs of each."""
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        return [session.run(None, batch) for batch in batches]
    (tmp_path / "batches").mkdir()
    files = [tmp_path / f"batches/{i}.npz" for i in range(len(batches))]
    for file, batch in zip(files, batches, strict=True):
        np.savez(file, **batch)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAE_", "FLAGS_"))}
    words = [sys.executable, TESTS / "serve_program.py", folder, tmp_path / "batches"]
    done = subprocess.run([str(word) for word in words], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [list(np.load(file.with_suffix(".out.npz")).values()) for file in files]


def numpy_inputs(model, images):
    """Normalise as the paper does: pixels from 0 to 1, less the mean, over the deviation."""
    low, high = model.value_low, model.value_low + model.value_span
    return (((images - low) / (high - low) - model.pixel_mean) / model.pixel_std).transpose(0, 3, 1, 2)


def numpy_tokens(model, images):
    weights = {name: value.numpy().astype(np.float64) for name, value in model.state_dict().items()}
    patches = numpy_mae.patches_of(numpy_inputs(model, images), 4)
    x = numpy_mae.linear(patches, weights, "patch_embed.proj")
    cls = np.broadcast_to(weights["cls_token"], (len(x), 1, 16))
    x = np.concatenate([cls, x], axis=1) + weights["pos_embed"]
    for i in range(2):
        x = numpy_mae.block(x, weights, f"blocks.{i}", 2)
    return x, weights


def numpy_logits(model, images):
    x, weights = numpy_tokens(model, images)
    if model.global_pool:
        pooled = numpy_mae.layer_norm(x[:, 1:].mean(1), weights, "fc_norm")
    else:
        pooled = numpy_mae.layer_norm(x, weights, "norm")[:, 0]
    return numpy_mae.linear(pooled, weights, "head")


def images(rows, chans):
    return np.random.default_rng(rows).integers(0, 256, (rows, 8, 12, chans), dtype=np.uint8)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(("pool", "chans"), [(True, 3), (False, 1)])
def test_classifier_on_any_batch_size(file_format, pool, chans, tmp_path):
    parts = classifier(global_pool=pool, in_chans=chans)
    folder = tmp_path / "served"
    write(folder, parts, file_format)
    batches = [images(rows, chans) for rows in (1, 5)]
    outputs = serve(folder, file_format, tmp_path, *({"images": batch} for batch in batches))
    for batch, (logits,) in zip(batches, outputs, strict=True):
        expected = numpy_logits(parts[0], batch)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


SCENES = {
    "int32": (10000, lambda rng, shape: rng.integers(0, 10001, shape)),
    "float32": ((-2.0, 6.0), lambda rng, shape: rng.uniform(-2, 6, shape)),
}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("dtype", SCENES)
def test_values_of_other_ranges_go_in_as_stored(file_format, dtype, tmp_path):
    value_range, draw = SCENES[dtype]
    parts = classifier(in_chans=5, value_range=value_range)
    folder = tmp_path / "served"
    write(folder, parts, file_format)
    (described,) = json.loads((folder / "export.json").read_text())["inputs"]
    assert described["dtype"] == dtype
    assert described["values"].startswith(
        "pixels 0 to 10000 (of uint16" if dtype == "int32" else "pixels -2 to 6, 5 ch"
    )
    batch = draw(np.random.default_rng(0), (3, 8, 12, 5)).astype(dtype)
    ((logits,),) = serve(folder, file_format, tmp_path, {"images": batch})
    expected = numpy_logits(parts[0], batch.astype(np.float64))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_shards_are_named_by_the_fingerprint_of_the_weights(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    listed = ""
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
        listed += f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n"  # as sha256sum prints it
    index.write_text(json.dumps({"weight_map": {"y": "b.safetensors", "x": "a.safetensors"}}))
    model, *signature = classifier()
    export_model(tmp_path / "served", "paddle", model, Signature(*signature), {}, weights_of(index))
    said = json.loads((tmp_path / "served/export.json").read_text())["source"]
    assert said == {"file": str(index), "sha256": hashlib.sha256(listed.encode()).hexdigest()}


@pytest.mark.parametrize("file_format", FORMATS)
def test_encoder_features(file_format, tmp_path):
    parts = encoder()
    folder = tmp_path / "served"
    write(folder, parts, file_format)
    ((features,),) = serve(folder, file_format, tmp_path, {"images": images(2, 3)})
    expected = numpy_mae.layer_norm(*numpy_tokens(parts[0], images(2, 3)), "norm")
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    weights = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".pdiparams", ".onnx"))
    used = 4 * sum(p.size for name, p in parts[0].named_parameters() if "decoder" not in name and name != "mask_token")
    assert file_format == "onnx" or weights < 1.2 * used, "the decoder is in the file"


@pytest.mark.parametrize("file_format", FORMATS)
def test_autoencoder_draws_the_mask_of_its_noise(file_format, tmp_path):
    model, *rest = autoencoder(norm_pix_loss=False, in_chans=1)
    folder = tmp_path / "served"
    write(folder, (model, *rest), file_format)
    drawn = np.random.default_rng(1).random((4, 6), dtype=np.float32)
    noises = drawn, np.round(drawn * 2) / 2  # the second has ties
    outputs = serve(folder, file_format, tmp_path, *({"images": images(4, 1), "noise": noise} for noise in noises))
    weights = {name: value.numpy().astype(np.float64) for name, value in model.state_dict().items()}
    kwargs = {"p": 4, "heads": 2, "decoder_heads": 2, "mask_ratio": 0.5, "norm_pix": False}
    for noise, (prediction, mask) in zip(noises, outputs, strict=True):
        _, expected, removed = numpy_mae.forward(weights, numpy_inputs(model, images(4, 1)), noise, **kwargs)
        np.testing.assert_array_equal(mask, removed)
        np.testing.assert_allclose(prediction, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.skipif(not fused.LOADED, reason=f"fused operators: {fused.why_not()}")
def test_no_fused_operator_is_in_the_graph(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_CORE_OPS", "fused")
    model, _, inputs, outputs = autoencoder()
    outputs = [Port("features", (7, 16), "float32", "tokens"), outputs[1]]
    parts = model, lambda x, noise: (model.forward_features(x), draw_masking(noise, 0.5).mask), inputs, outputs
    write(tmp_path / "served", parts)  # nothing but the environment keeps draw_masking from its operator
    program = next(path for path in (tmp_path / "served").iterdir() if path.name in PROGRAMS)
    assert b"argsort" in program.read_bytes()
    assert b"mae_mask" not in program.read_bytes()
    assert os.environ["MAE_CORE_OPS"] == "fused"


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    with pytest.raises(UserError, match="5 MB free, 8 MB are needed"):
        write(tmp_path / "served", classifier())
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


def test_the_description_says_what_a_server_needs(tmp_path):
    measured = write(tmp_path / "served", autoencoder(), facts={"classes": 5})
    said = json.loads((tmp_path / "served/export.json").read_text())
    assert [(port["name"], port["shape"], port["dtype"]) for port in said["inputs"]] == [
        ("images", ["N", 8, 12, 3], "uint8"),
        ("noise", ["N", 6], "float32"),
    ]
    assert [(port["holds"], port["shape"]) for port in said["outputs"]] == [
        ("prediction", ["N", 6, 48]),
        ("mask", ["N", 6]),
    ]
    assert said["classes"] == 5
    assert said["source"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert said["parity"]["relative"] == measured.parity.relative <= 1e-5
    assert said["versions"]["paddle"] == paddle.__version__
    assert sorted([*said["files"], "export.json"]) == sorted(path.name for path in (tmp_path / "served").iterdir())


def eager_differs():
    """A function whose graph computes something else."""
    model, function, inputs, outputs = classifier()
    return model, lambda x: (function(x)[0] * (1.001 if paddle.in_dynamic_mode() else 1.0),), inputs, outputs


def not_finite():
    model, *rest = classifier()
    model.head.bias.set_value(np.full(5, np.nan, dtype="float32"))
    return model, *rest


@pytest.mark.parametrize(
    ("parts", "error", "code", "words"),
    [(eager_differs, parity.ParityError, 1, "limit 1e-05"), (not_finite, CheckpointError, 4, "NaN")],
)
def test_a_failed_check_leaves_the_earlier_export_alone(parts, error, code, words, tmp_path):
    write(tmp_path / "served", encoder())
    before = {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    with pytest.raises(error, match=words) as caught:
        write(tmp_path / "served", parts())
    assert caught.value.exit_code == code
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served", "weights.bin"]


def test_an_earlier_export_is_replaced_whole(tmp_path):
    write(tmp_path / "served", autoencoder())
    write(tmp_path / "served", classifier())
    said = json.loads((tmp_path / "served/export.json").read_text())
    assert [port["holds"] for port in said["outputs"]] == ["logits"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served", "weights.bin"]


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("mae_core.export.model_folder.measure_parity", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "served", classifier())
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize(
    ("output", "words"),
    [("model.onnx", "leave the suffix out"), ("notes", "notes.txt"), ("file", "is a file")],
)
def test_what_is_not_ours_is_not_replaced(output, words, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/notes.txt").write_text("mine")
    (tmp_path / "notes/export.json").write_text("{}")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=words):
        check_export(tmp_path / output, "paddle")
    assert (tmp_path / "notes/notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    model, *signature = classifier()
    with pytest.raises(UserError, match="could not be written"):
        export_model(
            tmp_path / "file/served", "paddle", model, Signature(*signature), {}, weights_of(tmp_path / "file")
        )


@pytest.mark.parametrize(
    ("absent", "version", "words"),
    [
        ("onnxruntime", None, re.escape(f"ONNX needs onnxruntime: {pip_install('mae-core', 'onnx')}")),
        ("packaging", None, "ONNX needs packaging"),
        (None, "1.3.1" if paddle.__version__[0] == "3" else "2.1.0", "is not made for Paddle"),
    ],
)
def test_what_onnx_needs_is_said_before_the_work(absent, version, words, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file.util, "find_spec", lambda name: None if name == absent else object())
    monkeypatch.setattr(onnx_file.metadata, "version", lambda name: version)
    with pytest.raises(UserError, match=words) as caught:
        check_export(tmp_path / "served", "onnx")
    assert caught.value.exit_code == 2


def test_weights_beyond_one_onnx_file_are_refused():
    class Huge:
        def parameters(self):
            return [SimpleNamespace(size=2**29)]

    with pytest.raises(UserError, match="2 GiB"):
        onnx_file.require_size(Huge())


@pytest.mark.parametrize("file_format", FORMATS)
def test_nothing_is_installed_and_no_network_is_asked(file_format, tmp_path):
    """Every new process and connection is recorded; folding tools of paddle2onnx would run pip."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def watch(event, args):\n"
        "    if event in ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'socket.connect',"
        " 'socket.getaddrinfo'):\n"
        f"        open({str(tmp_path / 'events')!r}, 'a').write(f'EVENT {{event}} {{args[:2]}}\\n')\n"
        "sys.addaudithook(watch)\n"
    )
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import mae_core, test_export as t\n"
        "t.write(Path(sys.argv[2]), t.autoencoder(), sys.argv[3])\n"
        "assert 'polygraphy' not in sys.modules and 'POLYGRAPHY_AUTOINSTALL_DEPS' not in os.environ\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "POLYGRAPHY_AUTOINSTALL_DEPS"}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    words = [sys.executable, "-c", code, str(TESTS), str(tmp_path / "served"), file_format]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "events"
    events = file.read_text().splitlines() if file.exists() else []
    assert not [line for line in events if "pip" in line or "socket" in line], events


def test_compiled_code_is_quiet_unless_it_fails(capfd):
    def fail():
        os.write(1, b"what led to it")
        raise UserError("it fails")

    with quiet():
        os.write(1, b"a remark")
        os.write(2, b"another")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UserError), quiet():
        fail()
    assert capfd.readouterr() == ("", "what led to it")
