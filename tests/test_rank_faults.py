"""Two ranks of which one fails, is killed or is stopped: all end soon, and the console and exit code tell why."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stage_runs import PRETRAIN, ROOT, data

__all__ = ["data"]
SCRIPT = ROOT / "packages/mae-pretrain/src/mae_pretrain/__main__.py"


def start(tmp_path, data, **env):
    words = ["-m", "paddle.distributed.launch", "--nproc_per_node", 2, "--log_dir", tmp_path / "logs", SCRIPT,
             "-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *PRETRAIN.tiny,
             "TRAIN.NUM_EPOCHS", 10**4, "SAVE_FREQ", 10**4]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def pid_of(tmp_path, rank):
    """Wait until the run trains; return the process of a rank."""
    log, marks = tmp_path / "logs" / "workerlog.0", {f"PADDLE_LOG_DIR={tmp_path / 'logs'}", f"PADDLE_TRAINER_ID={rank}"}
    deadline = time.monotonic() + 120
    while not (log.exists() and re.search(r" step \d+/", log.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marks <= set((folder / "environ").read_text(errors="replace").split("\0")):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"no process of rank {rank}")


def test_the_cause_of_another_rank_is_on_the_console_and_in_the_exit_code(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    image = copy / "train/class 1/a 4.jpg"
    image.write_bytes(image.read_bytes()[:200])
    process = start(tmp_path, copy)
    process.communicate(timeout=120)
    assert process.returncode == 3
    said = (tmp_path / "logs" / "workerlog.0").read_text()  # what the launcher shows
    assert re.search(r"error: (rank 1 on .*\(pid \d+\): )?.*train_list.txt:5 \(train/class 1/a 4.jpg\)", said)


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "ended without a word"), (signal.SIGSTOP, "gave no sign of life")]
)
def test_a_rank_that_is_killed_or_stopped_is_named_and_ends_the_run(data, tmp_path, number, words):
    process = start(tmp_path, data, MAE_RANK_TIMEOUT="5")
    pid = pid_of(tmp_path, 1)
    started = time.monotonic()
    os.kill(pid, number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == 1
    assert re.search(rf"error: rank 1 on \S+ \(pid {pid}\) {words}", err)
    assert not Path(f"/proc/{pid}").exists()
