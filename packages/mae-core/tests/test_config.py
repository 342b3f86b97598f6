"""Config merging: order, types, and every refusal in words."""

import os
import time

import pytest
from yacs.config import CfgNode as CN

from mae_core.errors import ConfigError
from mae_core.stage.config.node import Schema, drifted_keys, get_key, merge_file, merge_pairs, to_dict


@pytest.fixture
def config():
    return CN(
        {
            "DATA": CN({"BATCH_SIZE": 256, "MEAN": [0.5], "PATH": "x"}),
            "TRAIN": CN({"LR": 0.1, "CLIP": None, "BETAS": (0.9, 0.95), "AMP": False}),
            "PRETRAINED": None,
        }
    )


@pytest.fixture
def schema(config):
    return Schema(config.clone(), {"DATA.BATCH_SIZE": list, "TRAIN.LR": type(None), "PRETRAINED": str})


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_base_then_file_then_pairs(config, schema, tmp_path):
    write(tmp_path / "base.yaml", "DATA: {BATCH_SIZE: 1, PATH: base}\nTRAIN: {LR: 1}\n")
    merge_file(config, write(tmp_path / "run.yaml", "BASE: ['', base.yaml]\nDATA:\n  BATCH_SIZE: 2\n"), schema)
    merge_pairs(config, ["TRAIN.LR", "3e-4", "TRAIN.CLIP", "None", "TRAIN.AMP", "true"], schema)
    assert to_dict(config)["DATA"] == {"BATCH_SIZE": 2, "MEAN": [0.5], "PATH": "base"}
    assert get_key(config, "TRAIN.LR") == 3e-4
    assert config.TRAIN.CLIP is None
    assert config.TRAIN.AMP is True


def test_spellings_of_the_predecessors_files_are_read(config, schema, tmp_path):
    merge_file(config, write(tmp_path / "a.yml", "TRAIN:\n  BETAS: (0.9, 0.99)\n  CLIP: None\n  LR: 1\n"), schema)
    assert config.TRAIN.BETAS == (0.9, 0.99)
    assert config.TRAIN.CLIP is None
    assert isinstance(config.TRAIN.LR, float)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("DATA: {BATCHSIZE: 1}", ["DATA.BATCHSIZE", "nearest is DATA.BATCH_SIZE"]),
        ("TRIAN: {LR: 1}", ["TRIAN", "nearest is TRAIN"]),
        ("DATA: 3", ["DATA=3", "group"]),
        ("DATA: {BATCH_SIZE: many}", ["DATA.BATCH_SIZE='many'", "whole number"]),
        ("DATA: {BATCH_SIZE: 1.5}", ["DATA.BATCH_SIZE=1.5", "whole number"]),
        ("DATA: {BATCH_SIZE: null}", ["DATA.BATCH_SIZE=None"]),
        ("DATA: {BATCH_SIZE: true}", ["DATA.BATCH_SIZE=True"]),
        ("TRAIN: {LR: .nan}", ["TRAIN.LR=nan", "finite"]),
        ("TRAIN: {CLIP: .inf}", ["TRAIN.CLIP=inf", "finite"]),
        ("TRAIN: {LR: 1, LR: 2}", ["'LR' stands twice"]),
        ("TRAIN: {LR: !!python/object/apply:os.system [ls]}", ["cannot be read"]),
        ("a: &a [x]\nb: [*a, *a]", ["aliases"]),
        ("- 1\n- 2", ["not a mapping"]),
        ("DATA: [", ["cannot be read"]),
        ("BASE: run.yaml", ["names itself", "run.yaml -> run.yaml"]),
        ("BASE: gone.yaml", ["gone.yaml", "cannot be read"]),
        ("BASE: 5", ["BASE=5", "file name"]),
        ("BASE: [null, 5]", ["BASE=5", "file name"]),
        ("BASE: {a: b}", ["BASE={'a': 'b'}", "file name"]),
        ("BASE: [['run.yaml']]", ["BASE=['run.yaml']", "file name"]),
        ('BASE: "a\\0.yaml"', ["file name"]),
        ("BASE: links.yaml", ["links.yaml", "cannot be read"]),
        ("BASE: folder.yaml", ["folder.yaml", "not a file"]),
        ("BASE: pipe.yaml", ["pipe.yaml", "not a file"]),
        ("[a, b]: 1", ["line 1", "a key must be a name"]),
        ("? {a: b}\n: 1", ["line 1", "a key must be a name"]),
        ("DATA: {<<: {PATH: x}}", ["line 1", "a key must be a name"]),
        ("5: 1", ["key 5 is not known"]),
        ('"a\\nb\\e[31m": 1', ["key 'a\\nb\\x1b[31m' is not known"]),
        ("DATA: " + "[" * 3000 + "]" * 3000, ["line 1", "deeper than 32"]),
        ("DATA: " + "{a: " * 3000 + "1" + "}" * 3000, ["line 1", "deeper than 32"]),
        ("".join(" " * i + "a:\n" for i in range(400)), ["line 32", "deeper than 32"]),
        ("DATA: {BATCH_SIZE: " + "9" * 5000 + "}", ["a number of 5,000 characters"]),
        ("DATA: {BATCH_SIZE: 0x" + "f" * 5000 + "}", ["a number of 5,002 characters"]),
        ("DATA: {BATCH_SIZE: 1" + ":59" * 5000 + "}", ["a number of 15,001 characters"]),
        ("DATA: {BATCH_SIZE: 99999999999999999999}", ["DATA.BATCH_SIZE=99999999999999999999", "up to 64 bits"]),
        ("TRAIN: {LR: 99999999999999999999}", ["TRAIN.LR=99999999999999999999", "up to 64 bits"]),
        ("DATA: {PATH: [" + "a, " * 9000 + "]}", ["DATA.PATH=['a', 'a'", "(45,000 characters)", "is not text"]),
        ("DATA: {PATH: 2024-13-45}", ["cannot be read"]),
        ("DATA: {PATH: \xff}".encode("latin-1"), ["cannot be read"]),
        ("#" * 200_000, ["larger than 100,000 bytes"]),
    ],
)
def test_bad_files_are_refused_by_name(config, schema, tmp_path, text, words):
    (tmp_path / "links.yaml").symlink_to("links.yaml")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    started = time.process_time()
    with pytest.raises(ConfigError) as error:
        merge_file(config, write(tmp_path / "run.yaml", text), schema)
    assert time.process_time() - started < 2
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    for word in [*words, ".yaml"]:
        assert word in message


def chain(folder, length, fan=1):
    """Files that name the next through BASE, `fan` times each; the last sets a key."""
    for i in range(length):
        names = [f"{i + 1}.yaml"] * fan if i < length - 1 else []
        write(folder / f"{i}.yaml", f"BASE: {names}\nDATA: {{BATCH_SIZE: {i + 1}}}\n")
    return folder / "0.yaml"


def test_chains_of_base_end(config, schema, tmp_path):
    merge_file(config, chain(tmp_path, 16), schema)
    assert config.DATA.BATCH_SIZE == 1
    with pytest.raises(ConfigError, match=r"16\.yaml is more than 16 levels of BASE deep: .* 15\.yaml -> 16\.yaml"):
        merge_file(config, chain(tmp_path, 1200), schema)
    merge_file(config, chain(tmp_path, 5, fan=2), schema)  # a file may be merged again by another way
    started = time.process_time()
    with pytest.raises(ConfigError, match="more than 64 files in all"):
        merge_file(config, chain(tmp_path, 15, fan=2), schema)
    with pytest.raises(ConfigError, match="more than 64 files in all"):
        merge_file(config, write(tmp_path / "wide.yaml", f"BASE: {['4.yaml'] * 5000}"), schema)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "value", ["9" * 4000, "9" * 5000, "0x" + "f" * 5000, "[" * 5000, "-" * 100_000 + "1", "1_0" * 999]
)
def test_hostile_values_on_the_command_line_are_one_short_line(config, schema, value):
    for key in ("DATA.BATCH_SIZE", "TRAIN.LR", "TRAIN.AMP", "DATA.MEAN"):
        with pytest.raises(ConfigError) as error:
            merge_pairs(config, [key, value], schema)
        assert len(str(error.value)) < 300


def test_python_files_are_never_run(config, schema, tmp_path):
    target = tmp_path / "ran"
    with pytest.raises(ConfigError, match="only YAML"):
        merge_file(config, write(tmp_path / "run.py", f"open({str(target)!r}, 'w')"), schema)
    assert not target.exists()


@pytest.mark.parametrize("pairs", [["TRAIN.LR"], ["LR", "1"], ["TRAIN.LR.X", "1"], ["TRAIN.LR", "fast"]])
def test_bad_pairs_are_refused(config, schema, pairs):
    with pytest.raises(ConfigError, match="LR"):
        merge_pairs(config, pairs, schema)


def test_a_key_may_take_one_more_type_at_every_layer(config, schema):
    for value, expected in (("[1, 2]", [1, 2]), ("(3, 4)", [3, 4]), ("5", 5)):
        merge_pairs(config, ["DATA.BATCH_SIZE", value], schema)
        assert expected == config.DATA.BATCH_SIZE
    for value, expected in (("None", None), ("1", 1.0), ("2e-4", 2e-4)):
        merge_pairs(config, ["TRAIN.LR", value], schema)
        assert expected == config.TRAIN.LR
    with pytest.raises(ConfigError, match=r"TRAIN\.LR=\[1\] is not a number or None \(default 0\.1\)"):
        merge_pairs(config, ["TRAIN.LR", "[1]"], schema)
    with pytest.raises(ConfigError, match=r"DATA\.MEAN=\[inf\] is not a finite number"):
        merge_pairs(config, ["DATA.MEAN", "[1e999]"], schema)


def test_text_or_none_is_never_read_as_something_else(config, schema):
    for value in ("2024", "1e5", "True", "[1]", "a/b"):
        merge_pairs(config, ["PRETRAINED", value, "DATA.PATH", value], schema)
        assert (value, value) == (config.PRETRAINED, config.DATA.PATH)
    merge_pairs(config, ["PRETRAINED", "None", "DATA.PATH", "None"], schema)
    assert (config.PRETRAINED, config.DATA.PATH) == (None, "None")


def test_drift_names_what_differs_and_spares_what_is_free(config, schema):
    saved = to_dict(config)
    merge_pairs(config, ["TRAIN.LR", "0.2", "DATA.PATH", "y"], schema)
    assert drifted_keys(saved, to_dict(config), free=["DATA"]) == {"TRAIN.LR": (0.1, 0.2)}
    assert drifted_keys(saved, to_dict(config), free=["DATA.PATH", "TRAIN.LR"]) == {}
