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
LONG = ("TRAIN.NUM_EPOCHS", "10000")
# How each node goes on by itself: with codes that say that a rank was lost, all ranks are started again.
AGAIN = """c=1; while [ $c = 1 ] || [ $c = 247 ]; do c=0; "$@" -resume auto || c=$?; done; exit $c"""


def start(tmp_path, data, *command, **env):
    """Start a command on the tiny recipe, for longer than any test; SAVE_FREQ may be given beside the environment."""
    frequency = ("SAVE_FREQ", env.pop("SAVE_FREQ", 10000))
    words = ["-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *PRETRAIN.tiny, *LONG, *frequency]
    return subprocess.Popen(
        [*map(str, (*command, *words))], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENV | env
    )


def launch(tmp_path, data, *words, **env):
    """Start two ranks; the files of `tools` are the ways to."""
    defaults = {"NPROC": "2", "LOGS": str(tmp_path / "logs")}
    return start(tmp_path, data, ROOT / "tools/run_pretrain_multi.sh", *words, **(defaults | env))


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


@pytest.mark.slow
def test_the_cause_of_another_rank_is_on_the_console_and_in_the_exit_code(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    image = copy / "train/class 1/a 4.jpg"
    image.write_bytes(image.read_bytes()[:200])
    process = launch(tmp_path, copy, "DATA.ON_ERROR", "raise")
    process.communicate(timeout=120)
    assert process.returncode == 3
    said = (tmp_path / "logs" / "workerlog.0").read_text()  # what the launcher shows
    assert re.search(r"error: (rank 1 on .*\(pid \d+\): )?.*train_list.txt:5 \(train/class 1/a 4.jpg\)", said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "ended without a word"), (signal.SIGSTOP, "sent no heartbeat")]
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


def test_a_rank_that_is_killed_is_named_by_the_other_which_ends(data, tmp_path):
    words = ["-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *PRETRAIN.tiny, *LONG]
    ranks = PRETRAIN.ranks(*words)
    log = tmp_path / "run" / "log.jsonl"
    wait_for_steps(lambda: log.exists() and log.read_text())
    ranks[1].kill()
    said, _ = ranks[0].communicate(timeout=60)
    assert (ranks[0].returncode, ranks[1].wait(10)) == (1, -signal.SIGKILL)
    assert re.search(rf"error: rank 1 on \S+ \(pid {ranks[1].pid}\) ended without a word", said)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def log_of(node):
    """Return what the rank of a node, of `start_nodes`, said."""
    file = node[1] / "workerlog.0"
    return file.read_text() if file.exists() else ""


def start_nodes(tmp_path, data, before=((), ()), host="127.0.0.1", **env):
    """Start two launchers with one master; returns (process, log folder) of each, of rank 0 first.

    Args:
        before: words before those of the script, by node.
        host: of the master.
    """
    script, log = ROOT / "tools/run_pretrain_multi.sh", tmp_path / "run" / "log.jsonl"
    env |= {"NPROC": "1", "NNODES": "2", "MASTER": f"{host}:{free_port()}"}
    logs = [tmp_path / f"logs{node}" for node in range(2)]
    nodes = [(start(tmp_path, data, *before[n], script, **env, LOGS=str(logs[n])), logs[n]) for n in range(2)]
    wait_for_steps(lambda: log.exists() and log.read_text())
    # Which of them is rank 0 is the launchers' affair: the one whose log tells of steps.
    return sorted(nodes, key=lambda node: " step " not in log_of(node))


def children(pid):
    """Return a process's children and theirs."""
    own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*own, *(grandchild for child in own for grandchild in children(child))]


@pytest.mark.slow
def test_the_loss_of_a_node_ends_the_other_by_name(data, tmp_path):
    (rest, _), (other, _) = start_nodes(tmp_path, data)
    (rank,) = children(other.pid)
    started = time.monotonic()
    for pid in (other.pid, rank):
        os.kill(pid, signal.SIGKILL)
    _, err = rest.communicate(timeout=90)
    other.communicate(timeout=10)
    assert time.monotonic() - started < 60
    assert rest.returncode == 1
    assert re.search(rf"error: rank 1 on \S+ \(pid {rank}\) ended without a word", err)


@pytest.mark.slow
def test_nodes_that_start_again_go_on_from_the_last_checkpoint(data, tmp_path):
    again = ("bash", "-c", AGAIN, "again")
    first, second = start_nodes(tmp_path, data, (again, again), SAVE_FREQ=2)
    checkpoints = tmp_path / "run/checkpoints"
    wait_for_steps(lambda: list(checkpoints.glob("step_*")))
    os.kill(children(second[0].pid)[-1], signal.SIGKILL)
    wait_for_steps(
        lambda: re.search(r"resumed from .* at step \d+\n(.*\n)*.* step \d+/", log_of(first) + log_of(second))
    )
    os.kill(children(first[0].pid)[-1], signal.SIGTERM)
    assert [node.wait(60) for node, _ in (first, second)] == [143, 143]


@pytest.fixture
def two_machines():
    """Two network namespaces with a link; returns the words that run a command in each, and the one that cuts it."""
    names = [f"mae{os.getpid()}{letter}" for letter in "ab"]
    within = [("ip", "netns", "exec", name) for name in names]
    address = ("env", "GLOO_SOCKET_IFNAME=link0")
    setup = [("ip", "netns", "add", name) for name in names]
    setup += [("ip", "link", "add", "link0", "netns", names[0], "type", "veth", "peer", "link0", "netns", names[1])]
    for n, inside in enumerate(within, 1):
        setup += [(*inside, "ip", "addr", "add", f"10.77.0.{n}/24", "dev", "link0")]
        setup += [(*inside, "ip", "link", "set", device, "up") for device in ("lo", "link0")]
    try:
        for command in setup:
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("network namespaces need root and iproute2")
        before = [(*inside, *address, f"POD_IP=10.77.0.{n}") for n, inside in enumerate(within, 1)]
        yield before, (*within[1], "ip", "link", "set", "link0", "down")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_machines_that_are_cut_off_from_each_other_end_and_name_each_other(data, tmp_path, two_machines):
    before, cut = two_machines
    nodes = start_nodes(tmp_path, data, before, host="10.77.0.1", MAE_RANK_TIMEOUT="5")
    started = time.monotonic()
    subprocess.run(cut, check=True)
    errs = [node.communicate(timeout=60)[1] for node, _ in nodes]
    assert time.monotonic() - started < 60
    assert [node.returncode for node, _ in nodes] == [1, 1]
    for rank, err in ((1, errs[0]), (0, errs[1])):
        assert re.search(rf"error: rank {rank} on .* sent no heartbeat", err)


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
