"""Runs that began before a key existed go on: every later key is said to have held something then."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from mae_core.stage.config.from_run import in_present_keys
from mae_core.stage.config.node import flatten, to_dict
from mae_core.stage.run.drift import MAY_CHANGE, drifted_keys

FIRST = Path(__file__).parent / "first_configs"  # written by the first version that could resume
WATCHING = ("MONITOR", "NO_CACHE")  # what the stages let change beside


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "probe"])
def test_every_later_key_has_a_value_in_a_run_of_the_first_version(stage) -> None:
    now = to_dict(import_module(f"mae_{stage}.config").RECIPE.defaults)
    first = yaml.safe_load((FIRST / f"{stage}.yaml").read_text())
    completed = flatten(in_present_keys(first, now))
    unknown = [key for key in drifted_keys(completed, flatten(now), (*MAY_CHANGE, *WATCHING)) if key not in completed]
    assert unknown == [], "add them to ADDED in mae_core.stage.config.from_run"
