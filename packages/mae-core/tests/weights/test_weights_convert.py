"""Formats: names and layouts as published, round trips bit for bit, the command line, refusals in words."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from mae_core import cli
from mae_core.errors import CheckpointError, UserError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays, save_checkpoint
from mae_core.training.optim import build_adamw
from mae_core.weights.checkpoint_state import State
from mae_core.weights.convert import convert
from mae_core.weights.formats.paddle_file import pdparams_bytes
from mae_core.weights.formats.safetensors_file import read_safetensors, write_safetensors
from mae_core.weights.formats.torch_writer import write_torch
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.load import load_model
from mae_core.weights.metadata import Metadata, metadata_of
from mae_core.weights.sources import read_file, read_weights

_spec = importlib.util.spec_from_file_location("weights_reference", Path(__file__).with_name("weights_reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

SIZES = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
DECODER = {"decoder_embed_dim": 12, "decoder_depth": 1, "decoder_num_heads": 3}


def small_mae(**kwargs):
    return MaskedAutoencoderViT(**{"img_size": 16, **SIZES, **DECODER, **kwargs})


def save_own(file, model):
    header = {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())}
    write_safetensors(file, model_arrays(model), header)
    return file


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].shape == b[name].shape, name
        assert np.ascontiguousarray(a[name]).tobytes() == np.ascontiguousarray(b[name]).tobytes(), name


TARGETS = [
    ("official", "x.pth"),
    ("official", "x.safetensors"),
    ("huggingface", "folder"),
    ("paddlevit", "x.pdparams"),
    ("passl", "x.pdparams"),
    ("mae-core", "x.pdparams"),
    ("mae-core", "x.safetensors"),
]


@pytest.mark.parametrize(("target", "name"), TARGETS)
def test_round_trip_of_a_masked_autoencoder_is_bit_exact(tmp_path, target, name):
    model = small_mae(in_chans=1, norm_pix_loss=False)
    own = save_own(tmp_path / "own.safetensors", model)
    there = convert(own, tmp_path / name, target=target)
    assert (there.left_out, there.tensors) == ([], len(model.state_dict()))
    back = convert(tmp_path / name, tmp_path / "back.safetensors")
    assert back.source == target
    same_bits(read_safetensors(tmp_path / "back.safetensors")[0], model_arrays(model))
    other = small_mae(in_chans=1, norm_pix_loss=False)
    load_model(tmp_path / name, other)
    same_bits(model_arrays(other), model_arrays(model))


@pytest.mark.parametrize(("target", "name"), [*TARGETS, ("timm", "x.safetensors"), ("timm", "x.pth")])
@pytest.mark.parametrize("pooled", [True, False])
def test_round_trip_of_a_classifier_is_bit_exact(tmp_path, target, name, pooled):
    model = VisionTransformer(img_size=(8, 12), num_classes=3, global_pool=pooled, **SIZES)
    own = save_own(tmp_path / "own.safetensors", model)
    if target == "huggingface" and pooled:
        with pytest.raises(CheckpointError, match="use --to timm"):
            convert(own, tmp_path / name)
        return
    convert(own, tmp_path / name, target=target)
    convert(tmp_path / name, tmp_path / "back.safetensors", source=target)
    same_bits(read_safetensors(tmp_path / "back.safetensors")[0], model_arrays(model))


def paddlevit_shapes():
    """Names as that repository's converters list them; linear weights are Paddle's, the patch is a convolution."""
    block = {
        "attn_norm": (4,),
        "attn.qkv": (4, 12),
        "attn.out": (4, 4),
        "mlp_norm": (4,),
        "mlp.fc1": (4, 8),
        "mlp.fc2": (8, 4),
    }
    shapes = {
        "cls_token": (1, 1, 4),
        "mask_token": (1, 1, 4),
        "encoder_position_embedding": (1, 5, 4),
        "decoder_position_embedding": (1, 5, 4),
        "patch_embedding.patch_embedding.weight": (4, 3, 2, 2),
        "linear_projection.weight": (4, 4),
        "decoder_pred.weight": (4, 12),
        **{
            f"{coder}.layers.0.{part}.weight": shape
            for coder in ("encoder", "decoder")
            for part, shape in block.items()
        },
        **{f"{coder}.norm.weight": (4,) for coder in ("encoder", "decoder")},
    }
    shapes |= {
        name.replace("weight", "bias"): shape[:1] if "patch_emb" in name else shape[-1:]
        for name, shape in shapes.items()
        if name.endswith("weight")
    }
    return shapes


@pytest.fixture
def seed_arrays():
    rng = np.random.default_rng(0)
    shapes = paddlevit_shapes()
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def paddlevit_model():
    return MaskedAutoencoderViT(
        img_size=4, patch_size=2, embed_dim=4, depth=1, num_heads=1, mlp_ratio=2.0,
        decoder_embed_dim=4, decoder_depth=1, decoder_num_heads=1,
    )  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
def test_seed_checkpoints_load_bare_or_under_model_with_or_without_suffix(tmp_path, seed_arrays, nested):
    tensors = {name: paddle.to_tensor(array) for name, array in seed_arrays.items()}
    optimizer = {"w": paddle.ones([2]), "LR_Scheduler": {"last_lr": 0.1, "last_epoch": 3}}
    content = {"model": tensors, "optimizer": optimizer, "epoch": 7, "amp_grad_scaler": {}} if nested else tensors
    paddle.save(content, str(tmp_path / "mae_pretrain_vit_base.pdparams"))
    model = paddlevit_model()
    for name in ("mae_pretrain_vit_base", "mae_pretrain_vit_base.pdparams"):
        assert load_model(tmp_path / name, model) == tmp_path / "mae_pretrain_vit_base.pdparams"
    patch = seed_arrays["patch_embedding.patch_embedding.weight"]
    for row in range(2):
        for column in range(2):
            for channel in range(3):
                np.testing.assert_array_equal(
                    model.patch_embed.proj.weight.numpy()[(row * 2 + column) * 3 + channel],
                    patch[:, channel, row, column],
                )
    np.testing.assert_array_equal(model.decoder_embed.weight.numpy(), seed_arrays["linear_projection.weight"])
    np.testing.assert_array_equal(
        model.decoder_blocks[0].attn.proj.weight.numpy(), seed_arrays["decoder.layers.0.attn.out.weight"]
    )


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_files_of_every_protocol_and_of_bfloat16(tmp_path, protocol):
    layer = paddle.nn.Linear(3, 2)
    paddle.save(layer.state_dict(), str(tmp_path / "a.pdparams"), protocol=protocol)
    same_bits(dict(read_file(tmp_path / "a.pdparams").arrays), model_arrays(layer))
    bits = np.array([0x3F80, 0xC020], np.uint16)  # how Paddle stores bfloat16
    (tmp_path / "b.pdparams").write_bytes(pickle.dumps({"x": bits, "name@@": {"x": "linear_0"}}, protocol))
    np.testing.assert_array_equal(read_file(tmp_path / "b.pdparams").arrays["x"], np.float32([1.0, -2.5]))


def test_paddle_loads_what_is_written(tmp_path):
    model = small_mae()
    own = save_own(tmp_path / "own.safetensors", model)
    convert(own, tmp_path / "ours.pdparams")
    loaded = paddle.load(str(tmp_path / "ours.pdparams"))
    assert small_mae().set_state_dict(loaded) == ([], [])
    same_bits({name: np.asarray(value) for name, value in loaded.items()}, model_arrays(model))


@pytest.mark.parametrize("file", ["torch_zip.pth", "torch_stream.pth"])
def test_both_formats_of_torch_are_read_without_it(file):
    found = dict(read_file(reference.GOLDEN.parent / file).arrays)
    same_bits(found, reference.torch_content())


def test_written_pth_is_what_the_reader_reads(tmp_path):
    arrays = reference.torch_content()
    write_torch(tmp_path / "a.pth", arrays)
    same_bits(dict(read_file(tmp_path / "a.pth").arrays), arrays)
    write_torch(
        tmp_path / "b.pth", {name: array.astype(array.dtype.newbyteorder(">")) for name, array in arrays.items()}
    )
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_bfloat16_of_safetensors_is_read_exactly(tmp_path):
    content = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + b"\x80\x3f\x20\xc0")
    np.testing.assert_array_equal(read_file(tmp_path / "x.safetensors").arrays["x"], np.float32([1.0, -2.5]))


@pytest.mark.parametrize("prefix", ["vit.", ""])
def test_hugging_face_spellings_of_all_releases(tmp_path, prefix):
    """Published files, those transformers 5 writes for the decoder, its module names, and encoders saved alone."""
    config = reference.MAE_CASES["square_norm_pix"]
    published = reference.arrays_of(config)
    wanted = read_weights(reference.write_folder(tmp_path / "published", config)).arrays
    for spelling in ("decoder.decoder_encoder.layer.", "modules"):
        renamed = {}
        for name, array in published.items():
            if spelling == "modules":
                name = name.replace("vit.encoder.layer.", "vit.layers.").replace("output.dense", "mlp.fc2")
                name = name.replace("attention.mlp.fc2", "attention.o_proj").replace("intermediate.dense", "mlp.fc1")
                for part in ("query", "key", "value"):
                    name = name.replace(f"attention.attention.{part}", f"attention.{part[0]}_proj")
            else:
                name = name.replace("decoder.decoder_layers.", spelling)
            renamed[name.replace("vit.", prefix, 1) if name.startswith("vit.") else name] = array
        write_safetensors(tmp_path / "model.safetensors", renamed, {"format": "pt"})
        found = read_weights(tmp_path / "model.safetensors")
        assert (found.source, found.unknown) == ("huggingface", [])
        same_bits(found.arrays, wanted)
    write_torch(tmp_path / "pytorch_model.bin", published)
    (tmp_path / "model.safetensors").unlink()
    same_bits(read_weights(tmp_path).arrays, wanted)


def test_linear_probe_heads_keep_their_batch_norm(tmp_path):
    model = VisionTransformer(img_size=8, num_classes=3, global_pool=False, **SIZES)
    norm = paddle.nn.BatchNorm1D(16, weight_attr=False, bias_attr=False)
    model.head = paddle.nn.Sequential(norm, model.head)
    model.head[0]._mean.set_value(paddle.arange(16, dtype="float32"))
    own = save_own(tmp_path / "own.safetensors", model)
    convert(own, tmp_path / "probe.pth")
    official = read_file(tmp_path / "probe.pth").arrays
    np.testing.assert_array_equal(official["head.0.running_mean"], np.arange(16, dtype=np.float32))
    assert official["head.1.weight"].shape == (3, 16)
    assert official["head.0.num_batches_tracked"].shape == ()
    convert(tmp_path / "probe.pth", tmp_path / "back.pdparams")
    assert load_model(tmp_path / "back", model) == tmp_path / "back.pdparams"
    write_torch(tmp_path / "ddp.pth", {f"module.{name}": array for name, array in official.items()})
    load_model(tmp_path / "ddp.pth", model)


def test_config_json_is_read_and_its_epsilon_remarked(tmp_path):
    config = {**reference.MAE_CASES["square_norm_pix"], "layer_norm_eps": 1e-12}
    weights = read_weights(reference.write_folder(tmp_path, config))
    known = weights.architecture().known()
    assert (known["num_heads"], known["decoder_num_heads"], known["norm_pix_loss"]) == (4, 3, True)
    assert known["img_size"] == (16, 16)
    assert "layer_norm_eps=1e-12" in weights.remarks[0]
    for change, named in (
        ({"model_type": "bert"}, "'bert'"),
        ({"hidden_act": "relu"}, "'relu'"),
        ({"patch_size": "four"}, "patch_size='four'"),
        ({"num_attention_heads": -1}, "num_heads=-1"),
        ({"image_size": [16]}, "img_size"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CheckpointError, match=named):
            read_weights(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(CheckpointError, match=r"config\.json is not readable"):
        read_weights(tmp_path)


def test_header_says_where_weights_come_from(tmp_path):
    from mae_core.files import sha256

    convert(save_own(tmp_path / "own.safetensors", small_mae()), tmp_path / "mae_visualize_vit_tiny.pth")
    done = convert(tmp_path / "mae_visualize_vit_tiny.pth", tmp_path / "new.safetensors", settings={"num_heads": 2})
    metadata = read_safetensors(tmp_path / "new.safetensors")[1]
    assert metadata["source"] == "official mae_visualize_vit_tiny.pth"
    assert metadata["source_sha256"] == sha256(tmp_path / "mae_visualize_vit_tiny.pth")
    facts = json.loads(metadata["architecture"])
    assert (facts["img_size"], facts["num_heads"], facts["norm_pix_loss"]) == ([16, 16], 2, False)
    assert "visualize" in done.remarks[0]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["convert", "nowhere", "out.pth"], 4, "nowhere: no such file or folder"),
        (["convert", "own", "out.onnx"], 2, "suffix .onnx"),
        (["convert", "own", "out.pth", "--to", "paddlevit"], 2, "takes .pdparams"),
        (["convert", "own", "out.pth", "--to", "keras"], 2, "'keras' is not known"),
        (["convert", "own", "out.pth", "--from", "keras"], 2, "'keras' is not known"),
        (["convert", "own", "out.pth", "--set", "heads=3"], 2, "'heads' is not known"),
        (["convert", "own", "out.pth", "--set", "num_heads=many"], 2, "num_heads=many"),
        (["convert", "own", "out.pth", "--set", "num_heads=0"], 4, "positive"),
        (["convert", "own", "out.pth", "--set", "img_size=16,32"], 4, "4x8 patches; there are positions for 16"),
        (["convert", "own", "own.safetensors"], 2, "the source itself"),
        (["convert", "own", "file.txt/out.pth"], 4, "could not be written"),
        (["convert", "own"], 2, "destination"),
        (["inspect", "file.txt"], 4, "suffix .txt"),
        (["inspect", "other"], 0, ""),
        (["convert", "other", "out.pth"], 4, "none of the MAE and ViT checkpoints"),
        (["convert", "shards", "out.pth"], 4, "not a readable index of shards"),
        (["convert", "own", "out.pth", "--from", "official"], 4, "header names mae-core, not official"),
        (["convert", "odd.pth", "out.pth", "--from", "huggingface"], 4, "of its names are not those of huggingface"),
        (["convert", "odd.pth", "out.pdparams", "--set", "patch_size=2"], 4, "patch_size=2 and in_chans=3 do not make"),
        (["convert", "odd.pth", "out.pdparams", "--set", "in_chans=7"], 4, "patch_size=4 and in_chans=7 do not make"),
        (["convert", "odd.pth", "out.pdparams", "--set", "num_heads=3"], 4, "num_heads=3 does not divide the width 16"),
        (["convert", "own", "file.txt", "--to", "huggingface"], 2, "takes a folder"),
        (["convert", "own", "file"], 2, "file is a file, and huggingface is a folder"),
        (["convert", "", "out.pth"], 2, "an empty text names nothing"),
        (["convert", "own", ""], 2, "an empty text names nothing"),
        (["inspect", ""], 2, "an empty text names nothing"),
        (["convert", "wide", "folder"], 4, "square images only"),
        (["convert", "odd.pth", "folder"], 4, "--set num_heads=... --set decoder_num_heads=..."),
        (["paint"], 2, "paint"),
    ],
)
def test_refusals_are_one_line(tmp_path, monkeypatch, capsys, arguments, code, named):
    monkeypatch.chdir(tmp_path)
    save_own(tmp_path / "own.safetensors", small_mae())
    save_own(tmp_path / "wide.safetensors", small_mae(img_size=(8, 16)))
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "other.pdparams").write_bytes(pdparams_bytes({"a\x1b[31m": np.ones(2)}))
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "model.safetensors.index.json").write_text("{}")
    convert("own", "odd.pth")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main(arguments) == code
    out, error = capsys.readouterr()
    assert named in error
    assert error.count("\n") == (code != 0)
    assert "\x1b" not in out + error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_convert_and_inspect_take_a_run_folder(tmp_path, capsys):
    model = small_mae()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    save_checkpoint(tmp_path / "run" / "checkpoints", model, build_adamw(model), State(3))
    assert cli.main(["convert", str(tmp_path / "run"), str(tmp_path / "hf")]) == 0
    assert "(huggingface), 50 tensors" in capsys.readouterr().out
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["decoder_num_attention_heads"] == 3
    assert cli.main(["inspect", str(tmp_path / "hf")]) == 0
    out = capsys.readouterr().out
    for said in (
        "source   huggingface",
        "num_heads=2",
        "sha256   ",
        "vit.layernorm.weight  [16]  float32",
        "tensors  62",
    ):
        assert said in out


def test_a_reader_that_leaves_early_ends_it_quietly(tmp_path):
    own = save_own(tmp_path / "own.safetensors", small_mae())
    program = f"import sys; sys.path[:0] = {sys.path!r}; from mae_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-W", "ignore", "-c", program, "inspect", str(own)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # before a line is written
        said = process.stderr.read()
    assert process.returncode == 141
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said


def test_names_beyond_the_terminal_s_encoding_are_said(tmp_path):
    own = save_own(tmp_path / "gewichte ü.safetensors", small_mae())
    program = f"import sys; sys.path[:0] = {sys.path!r}; from mae_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-W", "ignore", "-c", program, "inspect", str(own)]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert r"gewichte \xfc.safetensors" in done.stdout


def test_help_names_the_layouts_that_are_known():
    assert ", ".join(LAYOUTS) == cli.LAYOUTS


def test_a_word_that_is_no_command_is_refused(capsys):
    assert cli.main(["transform", "a"]) == 2
    assert (
        "'transform' is no command; there are convert, inspect, build; see mae-core --help" in capsys.readouterr().err
    )


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mae-core 0.")


def test_arguments_of_the_library_are_checked(tmp_path):
    own = save_own(tmp_path / "own.safetensors", small_mae())
    with pytest.raises(UserError, match="'tim' is not known"):
        convert(own, tmp_path / "x.pth", target="tim")
    with pytest.raises(UserError, match="'tim' is not known"):
        read_weights(own, "tim")


def test_the_command_needs_neither_paddle_nor_torch(tmp_path):
    own = save_own(tmp_path / "own.safetensors", small_mae())
    code = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'paddle' else find(name, *a);"
        "sys.modules['paddle'] = sys.modules['torch'] = None;"
        "from mae_core.cli import main; sys.exit(main())"
    )

    def run(*arguments):
        return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)

    assert run("convert", own, tmp_path / "x.pth").returncode == 0
    assert run("inspect", tmp_path / "x").stdout.count("\n") > 50
    assert "convert   convert weights" in run("--help").stdout
    assert "--set KEY=VALUE" in run("convert", "--help").stdout
    (tmp_path / "checkpoints").mkdir()
    refused = run("convert", tmp_path, tmp_path / "y.pth")
    assert refused.returncode == 4
    assert "holds no checkpoint" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_commands_of_the_readme_run(tmp_path, monkeypatch):
    import re
    import shlex

    readme = Path(__file__).parents[2] / "README.md"
    commands = re.findall(r"^(mae-core (?!build).*?)(?: +#.*)?$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 4
    model = small_mae()
    (tmp_path / "runs" / "my_run" / "checkpoints").mkdir(parents=True)
    save_checkpoint(tmp_path / "runs" / "my_run" / "checkpoints", model, build_adamw(model), State(1))
    convert(save_own(tmp_path / "own.safetensors", model), tmp_path / "mae_pretrain_vit_base.pth")
    monkeypatch.chdir(tmp_path)
    assert [cli.main(shlex.split(line)[1:]) for line in commands] == [0] * 4


@pytest.mark.parametrize(("target", "name"), [*TARGETS, ("timm", "x.safetensors")])
def test_pixel_statistics_and_class_names_are_kept_where_there_is_a_place(target, name, tmp_path):
    names = ["cat", "dog", "owl"]
    told = {"pixel_mean": (0.1, 0.2, 0.3), "pixel_std": (0.4, 0.5, 0.6)}
    model = VisionTransformer(img_size=16, **SIZES, num_classes=3, global_pool=False, class_names=names, **told)
    own = save_own(tmp_path / "own.safetensors", model)
    done = convert(own, tmp_path / name, target=target, settings={"num_heads": 2})
    written = read_weights(tmp_path / name).architecture(Metadata(num_heads=2, patch_size=4))
    if name.endswith((".pth", ".pdparams")):
        ending = name[name.index(".") :]
        (line,) = [line for line in done.lines() if "no place" in line]
        assert line.startswith(f"{ending} has no place for pixel statistics, ")
        assert "the names of 3 classes; .safetensors keeps them" in line
        assert written.class_names is None
    else:
        assert "no place" not in "\n".join(done.lines())
        assert (written.pixel_mean, written.pixel_std, written.class_names) == (*told.values(), tuple(names))
    if target == "huggingface":
        assert json.loads((tmp_path / name / "config.json").read_text())["id2label"] == dict(
            zip("012", names, strict=True)
        )
