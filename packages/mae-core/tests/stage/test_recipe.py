"""What every stage does with its config: find, load in order, check, freeze."""

from dataclasses import replace

import pytest
from yacs.config import CfgNode as CN

from mae_core.errors import ConfigError
from mae_core.stage.config.checks import require_none_or, require_pair, require_whole_patches
from mae_core.stage.config.keys import Key, config_of, keys_of
from mae_core.stage.config.node import to_dict
from mae_core.stage.config.recipe import Recipe, values_from_config
from mae_core.stage.config.shared_keys import SHARED

MODEL = {"TYPE": "PRETRAIN", "NAME": None, "PATCH_SIZE": 16, "MLP_RATIO": 4.0, "QKV_BIAS": True}
KEYS = keys_of(
    {
        "DATA": {"IMAGE_SIZE": 224, "PATH": "x"},
        "LR": Key(0.1, positive=True),
        "MODEL": {**MODEL, "ENCODER": {"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12}},
    },
    {"DATA.IMAGE_SIZE": SHARED["DATA.IMAGE_SIZE"], "MODEL.NAME": SHARED["MODEL.NAME"]},
)
DEFAULTS = config_of(KEYS)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A stage named `stage_of_test` with one packaged file."""
    folder = tmp_path / "site" / "stage_of_test"
    (folder / "configs").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "configs" / "small.yaml").write_text("DATA: {IMAGE_SIZE: 32}\nLR: 0.2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Recipe("stage_of_test", KEYS, lambda config: None)


@pytest.mark.parametrize("name", ["small", "small.yaml", "./configs/small.yaml"])
def test_packaged_files_are_found_by_name(recipe, name):
    assert recipe.load(name).DATA.IMAGE_SIZE == 32


def test_the_users_file_comes_before_a_packaged_one_and_pairs_before_flags(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("LR: 0.5\nDATA: {PATH: base}\n")
    (tmp_path / "small.yaml").write_text("BASE: base.yaml\nDATA: {IMAGE_SIZE: 64}\n")
    config = recipe.load("small.yaml", {"DATA.PATH": "flag"}, ["DATA.IMAGE_SIZE", "[8, 16]"])
    assert (to_dict(config)["DATA"], config.LR) == ({"IMAGE_SIZE": [8, 16], "PATH": "flag"}, 0.5)
    assert config.MODEL.NAME == "vit_base_patch16_8x16"
    assert recipe.load("small.yaml", {"DATA.PATH": "flag"}, ["DATA.PATH", "pair"]).DATA.PATH == "pair"
    with pytest.raises(AttributeError):
        config.LR = 1.0
    assert recipe.defaults.LR == 0.1


def test_refusals_say_what_is_allowed(recipe):
    with pytest.raises(ConfigError, match=r"config large does not exist; .*small\.yaml"):
        recipe.load("large")
    with pytest.raises(ConfigError, match=r"config smal does not exist; nearest is small; give a YAML file or one of"):
        recipe.load("smal")
    with pytest.raises(ConfigError, match=r"small\.yaml, or, to train, auto$"):
        replace(recipe, chosen=("auto",)).load("smal")
    with pytest.raises(ConfigError, match=r"LR=-1\.0 is not positive"):
        recipe.load(pairs=["LR", "-1"])


def test_checks_name_key_value_and_range():
    with pytest.raises(ConfigError, match=r"LR=0\.1 is outside 0\.5 to 1"):
        Key(1.0, range=(0.5, 1)).require("LR", 0.1)
    with pytest.raises(ConfigError, match=r"DATA\.PATH='x' is not one of 'y', 'z'"):
        Key("y", choices=("y", "z")).require("DATA.PATH", "x")
    lists = CN({"A": [0.5, 2]})
    with pytest.raises(ConfigError, match=r"A=\[0\.5, 2\] is outside 0 to 1"):
        Key([], range=(0, 1)).require("A", [0.5, 2])
    Key([], range=(0.5, 2)).require("A", [0.5, 2])
    for value in (["a"], [], True):
        with pytest.raises(ConfigError, match=r"B=.* is not made of numbers"):
            Key([], positive=True).require("B", value)
    require_pair(lists, "A")
    with pytest.raises(ConfigError, match=r"A=\[1\] is not two numbers"):
        require_pair(CN({"A": [1]}), "A")
    require_whole_patches([32, 48], 16)
    for size, words in (
        (225, "use a multiple of 16"),
        ([16, 16, 16], "height, width"),
        ([16], "height, width"),
        ([32, 40], "IMAGE_SIZE=40"),
    ):
        with pytest.raises(ConfigError, match=words):
            require_whole_patches(size, 16)
    with pytest.raises(ConfigError, match=r"LR=0\.1 is not a loss, or None"):
        require_none_or(DEFAULTS, "LR", lambda v: v > 1, "a loss")
    with pytest.raises(ConfigError, match=r"DATA\.PATH='x' is not a number, or None"):
        require_none_or(DEFAULTS, "DATA.PATH", lambda v: True, "a number")
    with pytest.raises(ConfigError, match=r"LR=True"):
        require_none_or(CN({"LR": True}), "LR", lambda v: True, "a number")
    require_none_or(CN({"LR": None}), "LR", lambda v: False, "a number")
    with pytest.raises(ConfigError, match="too wide"), values_from_config():
        raise ValueError("too wide")
