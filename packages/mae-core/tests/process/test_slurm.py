"""`srun` starts ranks as the launcher does, and threads are shared out where nobody asked for a number."""

import os
import subprocess
import sys

import pytest

from mae_core.process.runtime import available_cores, without_launchers_threads
from mae_core.process.slurm import as_launched, first_node

STEP = {
    "SLURM_STEP_NUM_TASKS": "20",
    "SLURM_PROCID": "17",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2),4",
    "SLURM_STEP_NODELIST": "gpu[007-009]",
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_ID": "0",
}


def test_a_step_of_many_tasks_is_many_ranks():
    found = as_launched(STEP, gpu=False)
    assert (found["PADDLE_TRAINER_ID"], found["PADDLE_TRAINERS_NUM"]) == ("17", "20")
    assert (found["PADDLE_LOCAL_RANK"], found["PADDLE_LOCAL_SIZE"]) == ("1", "4")
    host, port = found["PADDLE_MASTER"].split(":")
    assert host == "gpu007"
    assert 20_000 <= int(port) < 30_000
    assert len(found["PADDLE_TRAINER_ENDPOINTS"].split(",")) == 20
    assert (
        as_launched({**STEP, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4"}, gpu=True)["PADDLE_MASTER"] == "10.0.0.1:4"
    )


@pytest.mark.parametrize("visible", [{}, {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}])
def test_a_task_that_sees_all_gpus_takes_that_of_its_place_on_the_node(visible):
    assert as_launched({**STEP, **visible}, gpu=True)["FLAGS_selected_gpus"] == "1"


def test_a_task_that_is_bound_to_one_gpu_takes_the_only_one_it_sees():
    assert as_launched({**STEP, "CUDA_VISIBLE_DEVICES": "3"}, gpu=True)["FLAGS_selected_gpus"] == "0"


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"SLURM_NTASKS": "20", "SLURM_PROCID": "0"},  # the batch script itself, without srun
        {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
        {**STEP, "PADDLE_TRAINER_ID": "3"},  # the launcher under srun
    ],
)
def test_nothing_else_is_taken_for_one(env):
    assert as_launched(env, gpu=False) == {}


@pytest.mark.parametrize(
    ("nodes", "first"), [("big1", "big1"), ("a[3,5-7],b1", "a3"), ("x-1,x-2", "x-1"), ("", "127.0.0.1")]
)
def test_first_node(nodes, first):
    assert first_node(nodes) == first


def test_cores_of_a_task_are_not_shared_again():
    assert available_cores({"SLURM_CPUS_PER_TASK": "1", "PADDLE_LOCAL_SIZE": "8"}) == 1


@pytest.mark.parametrize(("theirs", "kept"), [({}, False), ({"OMP_NUM_THREADS": "1"}, True)])
def test_one_thread_is_the_launchers_choice_unless_the_user_said_so(theirs, kept):
    bare = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    words = [sys.executable, "-c", "print(flush=True); input()"]
    launcher = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bare | theirs)
    launcher.stdout.readline()  # /proc shows no environment before the program runs
    env = {"PADDLE_LOG_DIR": "logs", "OMP_NUM_THREADS": "1"}
    assert ("OMP_NUM_THREADS" in without_launchers_threads(env, launcher.pid)) == kept
    launcher.communicate(b"\n")
    assert "OMP_NUM_THREADS" in without_launchers_threads({"OMP_NUM_THREADS": "1"})
