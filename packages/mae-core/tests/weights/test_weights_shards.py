"""Weights that Hugging Face splits over several files: read as one, and nothing outside their folder is opened."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mae_core import cli
from mae_core.errors import CheckpointError
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.formats.torch_writer import write_torch
from mae_core.weights.sources import read_weights

_spec = importlib.util.spec_from_file_location("weights_reference", Path(__file__).with_name("weights_reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

CONFIG = reference.MAE_CASES["square_norm_pix"]


def split(folder, kind):
    """Write the folder of `reference.write_folder` as transformers splits it, in three shards."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    stem, suffix = {"safetensors": ("model", ".safetensors"), "bin": ("pytorch_model", ".bin")}[kind]
    arrays = list(reference.arrays_of(CONFIG).items())
    places = {}
    for i in range(3):
        file, part = f"{stem}-{i + 1:05d}-of-00003{suffix}", dict(arrays[i::3])
        if kind == "bin":
            write_torch(folder / file, part)
        else:
            write_safetensors(folder / file, part, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index, places


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_as_one_file(tmp_path, capsys, kind):
    whole = read_weights(reference.write_folder(tmp_path / "whole", CONFIG))
    index, _ = split(tmp_path / "shards", kind)
    for path in (tmp_path / "shards", index):
        weights = read_weights(path)
        assert (weights.source, weights.unknown) == ("huggingface", [])
        assert weights.architecture() == whole.architecture()  # config.json is read too
        assert weights.arrays.keys() == whole.arrays.keys()
        for name, array in whole.arrays.items():
            np.testing.assert_array_equal(weights.arrays[name], array, err_msg=name)
    convert(tmp_path / "shards", tmp_path / "one")
    assert (tmp_path / "one" / "model.safetensors").is_file()
    assert cli.main(["inspect", str(tmp_path / "shards")]) == 0
    if shutil.which("sha256sum"):
        listed = subprocess.run("sha256sum *-of-* | sha256sum", shell=True, cwd=index.parent, capture_output=True)
        assert f"sha256   {listed.stdout.split()[0].decode()}" in capsys.readouterr().out


def test_a_whole_file_comes_before_shards(tmp_path):
    index, _ = split(tmp_path / "both", "safetensors")
    reference.write_folder(index.parent, CONFIG)
    assert read_weights(index.parent).file.name == "model.safetensors"


def first(places, value):
    return {**places, next(iter(places)): value}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda places: first(places, "../secret.safetensors"), "names ../secret.safetensors, which is no weight file"),
        (lambda places: first(places, "/etc/passwd"), "names /etc/passwd"),
        (lambda places: first(places, "config.json"), "names config.json"),
        (lambda places: first(places, 3), "names 3"),
        (lambda places: first(places, "model-00009.safetensors"), "model-00009.safetensors, which is not there"),
        (lambda places: {**places, "extra": next(iter(places.values()))}, "lists extra in model-00001-of-00003"),
        (lambda places: {}, "names no shards"),
        (lambda places: [], "not a readable index"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, capsys, change, named):
    index, places = split(tmp_path / "shards", "safetensors")
    write_safetensors(tmp_path / "secret.safetensors", {next(iter(places)): np.ones(1)}, {})
    index.write_text(json.dumps({"weight_map": change(places)}))
    with pytest.raises(CheckpointError, match=named):
        read_weights(index.parent)
    assert cli.main(["inspect", str(index.parent)]) == 4
    said = capsys.readouterr().err
    assert said.startswith(f"error: {index}")
    assert said.count("\n") == 1


def test_a_damaged_shard_is_named(tmp_path):
    index, places = split(tmp_path / "shards", "safetensors")
    shard = index.with_name(next(iter(places.values())))
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=f"{shard.name} is not a readable"):
        read_weights(index.parent)
    index.write_text("{" * 10_000)
    with pytest.raises(CheckpointError, match="not a readable index of shards"):
        read_weights(index.parent)
