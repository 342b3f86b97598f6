"""Config merging: order, types, and every refusal in words."""

import pytest
from yacs.config import CfgNode as CN

from mae_core.config import Schema, drifted_keys, get_key, merge_file, merge_pairs, to_dict
from mae_core.errors import ConfigError


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
    path.write_text(text)
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
    ],
)
def test_bad_files_are_refused_by_name(config, schema, tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        merge_file(config, write(tmp_path / "run.yaml", text), schema)
    message = str(error.value)
    assert "\n" not in message
    for word in [*words, ".yaml"]:
        assert word in message


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
