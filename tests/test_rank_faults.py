"""Two ranks of which one fails, is killed or is stopped: all end soon, and the console and exit code tell why."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stage_runs import PRETRAIN, ROOT, data

__all__ = ["data"]
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
LONG = ("TRAIN.NUM_EPOCHS", "10000", "SAVE_FREQ", "10000")


def start(tmp_path, data, *command, **env):
    words = ["-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *PRETRAIN.tiny, *LONG]
    return subprocess.Popen(
        [*map(str, (*command, *words))], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENV | env
    )


def launch(tmp_path, data, **env):
    """Start two ranks; the files of `tools` are the ways to."""
    defaults = {"NPROC": "2", "LOGS": str(tmp_path / "logs")}
    return start(tmp_path, data, ROOT / "tools/run_pretrain_multi.sh", **(defaults | env))


def wait_for_steps(text):
    """Wait until a run trains; `text` reads what it has said."""
    deadline = time.monotonic() + 120
    while not text():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def pid_of(logs, rank):
    """Wait until the run trains; return the process of a rank."""
    log, marks = logs / "workerlog.0", {f"PADDLE_LOG_DIR={logs}", f"PADDLE_TRAINER_ID={rank}"}
    wait_for_steps(lambda: log.exists() and re.search(r" step \d+/", log.read_text()))
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
    process = launch(tmp_path, copy)
    process.communicate(timeout=120)
    assert process.returncode == 3
    said = (tmp_path / "logs" / "workerlog.0").read_text()  # what the launcher shows
    assert re.search(r"error: (rank 1 on .*\(pid \d+\): )?.*train_list.txt:5 \(train/class 1/a 4.jpg\)", said)


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "ended without a word"), (signal.SIGSTOP, "gave no sign of life")]
)
def test_a_rank_that_is_killed_or_stopped_is_named_and_ends_the_run(data, tmp_path, number, words):
    process = launch(tmp_path, data, MAE_RANK_TIMEOUT="5")
    pid = pid_of(tmp_path / "logs", 1)
    started = time.monotonic()
    os.kill(pid, number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == 1
    assert re.search(rf"error: rank 1 on \S+ \(pid {pid}\) {words}", err)
    assert not Path(f"/proc/{pid}").exists()


def test_the_loss_of_a_node_ends_the_other_by_name(data, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nodes = {"NPROC": "1", "NNODES": "2", "MASTER": f"127.0.0.1:{free.getsockname()[1]}"}
    first, second = (launch(tmp_path, data, **nodes, LOGS=str(tmp_path / f"logs{node}")) for node in range(2))
    wait_for_steps(lambda: (tmp_path / "run" / "log.jsonl").exists() and (tmp_path / "run" / "log.jsonl").read_text())
    lost = {first: tmp_path / "logs0", second: tmp_path / "logs1"}
    # Which of them is rank 0 is the launchers' affair: the one whose log tells of steps.
    other = next(node for node, logs in lost.items() if " step " not in (logs / "workerlog.0").read_text())
    rest = first if other is second else second
    children = Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text().split()
    started = time.monotonic()
    for pid in (other.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    _, err = rest.communicate(timeout=90)
    other.communicate(timeout=10)
    assert time.monotonic() - started < 60
    assert rest.returncode == 1
    assert re.search(rf"error: rank 1 on \S+ \(pid {children[0]}\) ended without a word", err)


def test_srun_starts_ranks_and_one_rank_s_signal_saves_and_asks_for_a_requeue(data, tmp_path):
    step = {
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    ranks = [
        start(tmp_path, data, *PRETRAIN.command(), **step, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank))
        for rank in range(2)
    ]
    log = tmp_path / "run" / "log.jsonl"
    wait_for_steps(lambda: log.exists() and log.read_text())
    ranks[1].send_signal(signal.SIGUSR1)
    said = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [75, 75], said
    assert list((tmp_path / "run" / "checkpoints").glob("step_*"))
