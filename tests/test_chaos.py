"""A small dose of `tools/chaos.py`."""

import json
import signal
import subprocess
import sys

import pytest
from stage_runs import ROOT


@pytest.mark.slow
def test_a_run_that_is_ended_at_random_moments_ends_as_one_left_alone(tmp_path):
    words = ["--ends", 2, "--seed", 5, "--output", tmp_path / "out", "--kinds", "mae_finetune", "--workers", 2]
    command = [sys.executable, ROOT / "tools/chaos.py", *words, "--ranks", 1]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    (scenario,) = json.loads((tmp_path / "out" / "chaos.json").read_text())
    assert scenario["same"] is True
    assert len(scenario["ends"]) == 2
    assert set(scenario["codes"]) <= {143, -signal.SIGTERM, 0}  # while Python itself starts; at the end of the run


@pytest.mark.slow
def test_a_run_that_is_ended_while_it_is_scored_ends_as_one_left_alone(tmp_path):
    words = ["--scoring", "--ends", 2, "--output", tmp_path / "out", "--kinds", "mae_pretrain", "--workers", 0]
    command = [sys.executable, ROOT / "tools/chaos.py", *words, "--ranks", 1]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    (scenario,) = json.loads((tmp_path / "out" / "chaos.json").read_text())
    assert scenario["same"] is True
    assert len(scenario["ends"]) == 2
    assert scenario["before_scores"]  # on a fast machine one may come after it


@pytest.mark.slow
def test_a_soak_sees_a_run_and_what_it_holds(tmp_path):
    words = ["--minutes", 0.35, "--every", 1, "--output", tmp_path / "out"]
    result = subprocess.run(
        [*map(str, [sys.executable, ROOT / "tools/soak.py", *words])], capture_output=True, text=True, timeout=300
    )
    record = json.loads((tmp_path / "out" / "soak.json").read_text())
    assert record["code"] == 143, result.stdout + result.stderr
    last = record["samples"][-1]
    assert last["threads"] > 3  # the workers are seen, too
    assert 150 < last["memory_mb"] < 2000
    assert (tmp_path / "out" / "soak.png").stat().st_size > 5000


def test_a_soak_notices_growth():
    import soak

    assert soak.growth([100.0, 100, 100, 100]) == 0
    assert soak.growth([float(i) for i in range(100, 200)]) > 0.5
