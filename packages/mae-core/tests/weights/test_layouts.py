"""A new family of checkpoints is one entry of LAYOUTS: found by itself, read, written, converted, reported.

Copy this test for a family of your own; see docs/seams.md.
"""

import numpy as np
import pytest

from mae_core.errors import UserError
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import read_safetensors, write_safetensors
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.metadata import Metadata
from mae_core.weights.parameter_names import Layout
from mae_core.weights.sources import inspect_lines, read_weights

DIM, PATCH = 8, 2
RENAMED = {"cls_token": "tokens.class", "patch_embed.proj": "stem"}
OTHER = Layout(
    "other",
    lambda raw, shapes: "tokens.class" in shapes,
    (".safetensors",),
    metadata=lambda raw: (Metadata(num_heads=4, img_size=(4, 4)), ["heads are always four there"]),
    header=lambda model: {"format": "other"},
    cautions=lambda model: ["other programs take four heads"],
    conv=False,
    top=RENAMED,
)


@pytest.fixture
def other(monkeypatch):
    """The registry as it is with one entry more."""
    monkeypatch.setitem(LAYOUTS, "other", OTHER)
    return OTHER


def ours():
    """Arrays of a one-block encoder by our names; no two numbers are equal, so a transposition shows."""
    shapes = {
        "cls_token": [1, 1, DIM], "pos_embed": [1, 5, DIM],
        "patch_embed.proj.weight": [PATCH * PATCH * 3, DIM], "patch_embed.proj.bias": [DIM],
        "blocks.0.attn.qkv.weight": [DIM, 3 * DIM], "blocks.0.mlp.fc1.weight": [DIM, 16], "blocks.0.mlp.fc1.bias": [16],
        "norm.weight": [DIM],
    }  # fmt: skip
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_a_family_is_written_found_and_read(other, tmp_path):
    write_safetensors(tmp_path / "a.safetensors", ours(), {"format": "mae-core", "architecture": '{"patch_size": 2}'})
    done = convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", target="other")
    assert done.remarks == ["other programs take four heads"]
    theirs, header = read_safetensors(tmp_path / "b.safetensors")
    assert header["format"] == "other"
    np.testing.assert_array_equal(theirs["tokens.class"], ours()["cls_token"])
    np.testing.assert_array_equal(theirs["stem.weight"], ours()["patch_embed.proj.weight"])  # no convolution
    qkv = "blocks.0.attn.qkv.weight"
    np.testing.assert_array_equal(theirs[qkv], ours()[qkv].T)  # [out, in]

    weights = read_weights(tmp_path / "b.safetensors")
    assert (weights.source, weights.unknown, weights.remarks) == ("other", [], ["heads are always four there"])
    assert weights.architecture().known().items() >= {"num_heads": 4, "img_size": (4, 4), "depth": 1}.items()
    for name, array in ours().items():
        np.testing.assert_array_equal(weights.arrays[name], array, err_msg=name)
    assert "source   other" in list(inspect_lines(tmp_path / "b.safetensors"))


def test_a_family_takes_no_suffix_from_those_before_it(other, tmp_path):
    write_safetensors(tmp_path / "a.safetensors", ours(), {"format": "mae-core"})
    assert convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors").target == "mae-core"
    with pytest.raises(UserError, match=r"cannot be written as other; it takes \.safetensors"):
        convert(tmp_path / "a.safetensors", tmp_path / "b.pth", target="other")


def test_an_attentive_head_moves_as_it_is_and_is_reported_where_it_cannot(tmp_path):
    head = {"head.pool.queries": np.ones([2, DIM], np.float32), "head.pool.value": np.eye(DIM, k=1, dtype=np.float32)}
    arrays = ours() | head | {"head.1.weight": np.ones([DIM, 3], np.float32), "head.1.bias": np.ones(3, np.float32)}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "mae-core", "architecture": '{"patch_size": 2}'})
    for name in ("b.safetensors", "b.pth"):
        assert convert(tmp_path / "a.safetensors", tmp_path / name).left_out == []
        for key, value in head.items():
            np.testing.assert_array_equal(read_weights(tmp_path / name).arrays[key], value)
    settings = {"img_size": 4, "num_heads": 2}
    left_out = convert(tmp_path / "a.safetensors", tmp_path / "hf", settings=settings).left_out
    assert set(left_out) == {*head, "head.1.weight", "head.1.bias"}


def test_each_family_says_what_it_is_written_as():
    assert all(layout.suffixes for layout in LAYOUTS.values())
    first = {suffix: next(n for n, layout in LAYOUTS.items() if suffix in layout.suffixes)
             for suffix in (".safetensors", ".pdparams", ".pth", "")}  # fmt: skip
    assert first == {".safetensors": "mae-core", ".pdparams": "mae-core", ".pth": "official", "": "huggingface"}
