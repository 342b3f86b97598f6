"""A step of two ranks whose loss was not finite is done again by the command that the run printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stage_runs import FINETUNE, ROOT, data

__all__ = ["data"]
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NPROC": "2"}


@pytest.mark.slow
def test_the_printed_command_does_the_step_again(data, tmp_path):
    words = ["-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *FINETUNE.tiny, "TRAIN.BASE_LR", 1e30]
    command = [ROOT / "tools/run_finetune_multi.sh", *words, "TRAIN.WARMUP_EPOCHS", 0]
    first = subprocess.run([*map(str, command)], env=ENV | {"LOGS": str(tmp_path / "logs")}, capture_output=True)
    assert first.returncode == 5
    record = json.loads((tmp_path / "run" / "capture" / "batch.json").read_text())
    assert {told["rank"] for told in record["passes"]} == {0, 1}
    assert "nan" in {told["loss"] for told in record["passes"]}
    again = subprocess.run(record["replay"], shell=True, cwd=tmp_path, env=ENV, capture_output=True)
    assert again.returncode == 5
    repeated = json.loads((tmp_path / "run" / "replay" / "capture" / "batch.json").read_text())
    assert {**repeated, "replay": record["replay"]} == record
