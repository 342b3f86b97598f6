"""Config merging: order, types, and every refusal in words."""

import os
import re
import time

import pytest

from mae_core.errors import ConfigError
from mae_core.stage.config.keys import Key, keys_of
from mae_core.stage.config.merge import Merge
from mae_core.stage.config.node import to_dict
from mae_core.stage.config.yaml_file import read_layers
from mae_core.stage.run.drift import drifted_keys

KEYS = keys_of(
    {
        "DATA": {"BATCH_SIZE": Key(256, also=list), "MEAN": [0.5], "PATH": "x"},
        "TRAIN": {"LR": Key(0.1, also=type(None)), "CLIP": None, "BETAS": (0.9, 0.95), "AMP": False},
        "PRETRAINED": Key(None, also=str),
    },
    {},
)


@pytest.fixture
def merge():
    return Merge(KEYS)


def merge_file(merge, path):
    merge.layers(read_layers(path))


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_base_then_file_then_pairs(merge, tmp_path):
    write(tmp_path / "base.yaml", "DATA: {BATCH_SIZE: 1, PATH: base}\nTRAIN: {LR: 1}\n")
    merge_file(merge, write(tmp_path / "run.yaml", "BASE: ['', base.yaml]\nDATA:\n  BATCH_SIZE: 2\n"))
    merge.pairs(["TRAIN.LR", "3e-4", "TRAIN.CLIP", "None", "TRAIN.AMP", "true"])
    assert to_dict(merge.config)["DATA"] == {"BATCH_SIZE": 2, "MEAN": [0.5], "PATH": "base"}
    assert merge.config.TRAIN.LR == 3e-4
    assert merge.config.TRAIN.CLIP is None
    assert merge.config.TRAIN.AMP is True


def test_spellings_of_the_predecessors_files_are_read(merge, tmp_path):
    merge_file(merge, write(tmp_path / "a.yml", "TRAIN:\n  BETAS: (0.9, 0.99)\n  CLIP: None\n  LR: 1\n"))
    assert merge.config.TRAIN.BETAS == (0.9, 0.99)
    assert merge.config.TRAIN.CLIP is None
    assert isinstance(merge.config.TRAIN.LR, float)


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
def test_bad_files_are_refused_by_name(merge, tmp_path, text, words):
    (tmp_path / "links.yaml").symlink_to("links.yaml")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    started = time.process_time()
    with pytest.raises(ConfigError) as error:
        merge_file(merge, write(tmp_path / "run.yaml", text))
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


def test_chains_of_base_end(merge, tmp_path):
    merge_file(merge, chain(tmp_path, 16))
    assert merge.config.DATA.BATCH_SIZE == 1
    with pytest.raises(ConfigError, match=r"16\.yaml is more than 16 levels of BASE deep: .* 15\.yaml -> 16\.yaml"):
        merge_file(merge, chain(tmp_path, 1200))
    merge_file(merge, chain(tmp_path, 5, fan=2))  # a file may be merged again by another way
    started = time.process_time()
    with pytest.raises(ConfigError, match="more than 64 files in all"):
        merge_file(merge, chain(tmp_path, 15, fan=2))
    with pytest.raises(ConfigError, match="more than 64 files in all"):
        merge_file(merge, write(tmp_path / "wide.yaml", f"BASE: {['4.yaml'] * 5000}"))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "value", ["9" * 4000, "9" * 5000, "0x" + "f" * 5000, "[" * 5000, "-" * 100_000 + "1", "1_0" * 999]
)
def test_hostile_values_on_the_command_line_are_one_short_line(merge, value):
    for key in ("DATA.BATCH_SIZE", "TRAIN.LR", "TRAIN.AMP", "DATA.MEAN"):
        with pytest.raises(ConfigError) as error:
            merge.pairs([key, value])
        assert len(str(error.value)) < 300


def test_python_files_are_never_run(merge, tmp_path):
    target = tmp_path / "ran"
    with pytest.raises(ConfigError, match="only YAML"):
        merge_file(merge, write(tmp_path / "run.py", f"open({str(target)!r}, 'w')"))
    assert not target.exists()


@pytest.mark.parametrize("pairs", [["TRAIN.LR"], ["LR", "1"], ["TRAIN.LR.X", "1"], ["TRAIN.LR", "fast"]])
def test_bad_pairs_are_refused(merge, pairs):
    with pytest.raises(ConfigError, match="LR"):
        merge.pairs(pairs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("photos", "'photos': a path needs a flag before it, perhaps -data_path photos"),
        ("photos TRAIN.LR 1", "perhaps -data_path photos"),
        ("TRAIN.LR 1 run photos", "'run', 'photos': a path needs a flag before it, perhaps -pretrained run -data_path"),
        ("w.safetensors own.yaml", "perhaps -pretrained w.safetensors -cfg own.yaml"),
        ("TRAIN.LR=1e-3", "'TRAIN.LR=1e-3' is one word; write key and value apart: TRAIN.LR 1e-3"),
        ("TRAIN.LR 1 TRAIN.CLIP=1 TRAIN.AMP=true", "write key and value apart: TRAIN.CLIP 1"),
        ("nowhere", "'nowhere' is left over"),
        ("TRAIN.L photos", "command line: key TRAIN.L is not known; nearest is TRAIN.LR"),
    ],
)
def test_words_that_are_no_pairs_are_refused_with_what_to_write(merge, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "run/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("w.safetensors", "own.yaml"):
        (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=re.escape(said)):
        merge.pairs(words.split())


def test_a_path_may_be_a_value(merge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1").mkdir()
    merge.pairs(["TRAIN.LR", "1"])
    assert merge.config.TRAIN.LR == 1.0


def test_a_key_may_take_one_more_type_at_every_layer(merge):
    for value, expected in (("[1, 2]", [1, 2]), ("(3, 4)", [3, 4]), ("5", 5)):
        merge.pairs(["DATA.BATCH_SIZE", value])
        assert expected == merge.config.DATA.BATCH_SIZE
    for value, expected in (("None", None), ("1", 1.0), ("2e-4", 2e-4)):
        merge.pairs(["TRAIN.LR", value])
        assert expected == merge.config.TRAIN.LR
    with pytest.raises(ConfigError, match=r"TRAIN\.LR=\[1\] is not a number or None \(default 0\.1\)"):
        merge.pairs(["TRAIN.LR", "[1]"])
    with pytest.raises(ConfigError, match=r"DATA\.MEAN=\[inf\] is not a finite number"):
        merge.pairs(["DATA.MEAN", "[1e999]"])


def test_text_or_none_is_never_read_as_something_else(merge):
    for value in ("2024", "1e5", "True", "[1]", "a/b"):
        merge.pairs(["PRETRAINED", value, "DATA.PATH", value])
        assert (value, value) == (merge.config.PRETRAINED, merge.config.DATA.PATH)
    merge.pairs(["PRETRAINED", "None", "DATA.PATH", "None"])
    assert (merge.config.PRETRAINED, merge.config.DATA.PATH) == (None, "None")


def test_drift_names_what_differs_and_spares_what_is_free(merge):
    saved = to_dict(merge.config)
    merge.pairs(["TRAIN.LR", "0.2", "DATA.PATH", "y"])
    assert drifted_keys(saved, to_dict(merge.config), free=["DATA"]) == {"TRAIN.LR": (0.1, 0.2)}
    assert drifted_keys(saved, to_dict(merge.config), free=["DATA.PATH", "TRAIN.LR"]) == {}
