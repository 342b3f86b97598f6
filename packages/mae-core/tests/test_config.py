"""Config merging: order, types, and every refusal in words."""

import pytest
from yacs.config import CfgNode as CN

from mae_core.config import drifted_keys, get_key, merge_file, merge_pairs, to_dict
from mae_core.errors import ConfigError


@pytest.fixture
def config():
    return CN(
        {
            "DATA": CN({"BATCH_SIZE": 256, "MEAN": [0.5], "PATH": "x"}),
            "TRAIN": CN({"LR": 0.1, "CLIP": None, "BETAS": (0.9, 0.95), "AMP": False}),
        }
    )


def write(path, text):
    path.write_text(text)
    return path


def test_base_then_file_then_pairs(config, tmp_path):
    write(tmp_path / "base.yaml", "DATA: {BATCH_SIZE: 1, PATH: base}\nTRAIN: {LR: 1}\n")
    merge_file(config, write(tmp_path / "run.yaml", "BASE: ['', base.yaml]\nDATA:\n  BATCH_SIZE: 2\n"))
    merge_pairs(config, ["TRAIN.LR", "3e-4", "TRAIN.CLIP", "None", "TRAIN.AMP", "true"])
    assert to_dict(config)["DATA"] == {"BATCH_SIZE": 2, "MEAN": [0.5], "PATH": "base"}
    assert get_key(config, "TRAIN.LR") == 3e-4
    assert config.TRAIN.CLIP is None
    assert config.TRAIN.AMP is True


def test_spellings_of_the_predecessors_files_are_read(config, tmp_path):
    merge_file(config, write(tmp_path / "a.yml", "TRAIN:\n  BETAS: (0.9, 0.99)\n  CLIP: None\n  LR: 1\n"))
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
def test_bad_files_are_refused_by_name(config, tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        merge_file(config, write(tmp_path / "run.yaml", text))
    message = str(error.value)
    assert "\n" not in message
    for word in [*words, ".yaml"]:
        assert word in message


def test_python_files_are_never_run(config, tmp_path):
    target = tmp_path / "ran"
    with pytest.raises(ConfigError, match="only YAML"):
        merge_file(config, write(tmp_path / "run.py", f"open({str(target)!r}, 'w')"))
    assert not target.exists()


@pytest.mark.parametrize("pairs", [["TRAIN.LR"], ["LR", "1"], ["TRAIN.LR.X", "1"], ["TRAIN.LR", "fast"]])
def test_bad_pairs_are_refused(config, pairs):
    with pytest.raises(ConfigError, match="LR"):
        merge_pairs(config, pairs)


def test_a_key_may_take_one_more_type(config):
    merge_pairs(config, ["DATA.BATCH_SIZE", "[1, 2]"], also={"DATA.BATCH_SIZE": list})
    assert config.DATA.BATCH_SIZE == [1, 2]
    with pytest.raises(ConfigError, match="a number"):
        merge_pairs(config.clone(), ["TRAIN.LR", "[1]"], also={"DATA.BATCH_SIZE": list})


def test_drift_names_what_differs_and_spares_what_is_free(config):
    saved = to_dict(config)
    merge_pairs(config, ["TRAIN.LR", "0.2", "DATA.PATH", "y"])
    assert drifted_keys(saved, to_dict(config), free=["DATA"]) == {"TRAIN.LR": (0.1, 0.2)}
    assert drifted_keys(saved, to_dict(config), free=["DATA.PATH", "TRAIN.LR"]) == {}
