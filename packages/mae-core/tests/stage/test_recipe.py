"""What every stage does with its config: find, load in order, check, freeze."""

import pytest
from yacs.config import CfgNode as CN

from mae_core.errors import ConfigError
from mae_core.stage.config.checks import (
    require_none_or,
    require_one_of,
    require_pair,
    require_positive,
    require_whole_patches,
    require_within,
)
from mae_core.stage.config.node import to_dict
from mae_core.stage.config.recipe import Recipe, values_from_config

DEFAULTS = CN({"DATA": CN({"SIZE": 224, "PATH": "x"}), "LR": 0.1, "MODEL": CN({"TYPE": "PRETRAIN"})})


def validate(config):
    require_positive(config, ["LR"])


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A stage named `stage_of_test` with one packaged file."""
    folder = tmp_path / "site" / "stage_of_test"
    (folder / "configs").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "configs" / "small.yaml").write_text("DATA: {SIZE: 32}\nLR: 0.2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Recipe("stage_of_test", DEFAULTS, {"DATA.SIZE": list}, validate)


@pytest.mark.parametrize("name", ["small", "small.yaml", "./configs/small.yaml"])
def test_packaged_files_are_found_by_name(recipe, name):
    assert recipe.load(name).DATA.SIZE == 32


def test_the_users_file_comes_before_a_packaged_one_and_pairs_before_flags(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("LR: 0.5\nDATA: {PATH: base}\n")
    (tmp_path / "small.yaml").write_text("BASE: base.yaml\nDATA: {SIZE: 64}\n")
    config = recipe.load("small.yaml", {"DATA.PATH": "flag"}, ["DATA.SIZE", "[8, 16]"])
    assert to_dict(config) == {
        "DATA": {"SIZE": [8, 16], "PATH": "flag"}, "LR": 0.5, "MODEL": {"TYPE": "PRETRAIN"}
    }  # fmt: skip
    assert recipe.load("small.yaml", {"DATA.PATH": "flag"}, ["DATA.PATH", "pair"]).DATA.PATH == "pair"
    with pytest.raises(AttributeError):
        config.LR = 1.0
    assert DEFAULTS.LR == 0.1


def test_refusals_say_what_is_allowed(recipe):
    with pytest.raises(ConfigError, match=r"config large does not exist; .*small\.yaml"):
        recipe.load("large")
    with pytest.raises(ConfigError, match=r"LR=-1\.0 is not positive"):
        recipe.load(pairs=["LR", "-1"])


def test_checks_name_key_value_and_range():
    with pytest.raises(ConfigError, match=r"LR=0\.1 is outside 0\.5 to 1"):
        require_within(DEFAULTS, {"LR": (0.5, 1)})
    with pytest.raises(ConfigError, match=r"DATA\.PATH='x' is not one of 'y', 'z'"):
        require_one_of(DEFAULTS, {"DATA.PATH": ("y", "z")})
    lists = CN({"A": [0.5, 2], "B": ["a"], "C": [], "D": True})
    with pytest.raises(ConfigError, match=r"A=\[0\.5, 2\] is outside 0 to 1"):
        require_within(lists, {"A": (0, 1)})
    require_within(lists, {"A": (0.5, 2)})
    for key in "BCD":
        with pytest.raises(ConfigError, match=f"{key}=.* is not made of numbers"):
            require_positive(lists, [key])
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
