"""The scripts that start ranks, with stand-ins for what SLURM brings: words, exit codes and requeueing."""

import os
import subprocess
from pathlib import Path

import pytest
from stage_runs import ROOT

pytestmark = pytest.mark.once

TOOLS = ROOT / "tools"


def stand_in(folder: Path, name: str, code: int) -> None:
    """Write a command that notes its words and exits with a code."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >> "$CALLS"\nexit {code}\n')
    file.chmod(0o755)


@pytest.mark.parametrize("code", [0, 1, 3, 75, 143])
def test_the_job_is_queued_again_where_the_run_asks_for_it_only(tmp_path, code):
    """With 75 of all tasks; whatever requeueing says, the job's code is the run's."""
    stand_in(tmp_path / "bin", "srun", code)
    stand_in(tmp_path / "bin", "scontrol", 1)
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_CPUS_PER_TASK": "12"}
    words = ["-output", "a b", "-data_path", "/data"]
    done = subprocess.run(["bash", TOOLS / "pretrain.sbatch", *words], env=env | slurm, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    run = "srun --kill-on-bad-exit=1 --cpus-per-task=12 mae-pretrain -output a b -data_path /data -resume auto"
    requeued = ["scontrol requeue 4711"] if code == 75 else []
    assert (tmp_path / "calls").read_text().splitlines() == [run, *requeued]


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("run_pretrain_multi.sh", "mae-pretrain"),
        ("run_finetune_multi.sh", "mae-finetune"),
        ("run_linear_probe_multi.sh", "mae-probe"),
        ("run_eval_multi.sh", "mae-finetune"),
    ],
)
def test_the_launcher_gets_what_the_variables_say(script, command, tmp_path):
    stand_in(tmp_path / "bin", command, 9)
    stand_in(tmp_path / "bin", "python", 5)  # beside the command: that of its environment
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    variables = {"NPROC": "2", "NNODES": "3", "MASTER": "n1:6170", "LOGS": "told", "DEVICES": "0,1"}
    done = subprocess.run([TOOLS / script, "-amp", "a b"], env=env | variables)
    assert done.returncode == 5
    added = "-eval " if "eval" in script else ""
    assert (tmp_path / "calls").read_text() == (
        "python -m paddle.distributed.launch --log_dir told --nproc_per_node 2 --devices 0,1 --nnodes 3"
        f" --master n1:6170 {tmp_path / 'bin'}/{command} {added}-amp a b\n"
    )


def test_a_missing_command_or_master_is_one_line(tmp_path):
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([TOOLS / "launch_ranks.sh", "no-such"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    stand_in(tmp_path, "mae-probe", 0)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "NNODES": "2"}
    done = subprocess.run([TOOLS / "launch_ranks.sh", "mae-probe"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: NNODES=2 needs MASTER=host:port of the first node\n")
