"""Limits of the system: one line that says what to raise, in a process of its own that has them."""

import errno
import os
import resource
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

import mae_data.loading.worker_pool as pool_module
from mae_data.limits import available_cores, explain_limit


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data/a").mkdir(parents=True)
    for i in range(40):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / f"data/a/{i}.png")
    return tmp_path / "data"


def test_few_descriptors_are_named(folder):
    command = [sys.executable, "-m", "mae_data", "verify", str(folder), "--workers", "2"]
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (12, 12))
    told = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=60)
    assert told.returncode == 3
    (line,) = told.stderr.splitlines()
    assert "too few files may be open (limit 12" in line
    assert "raise it: ulimit -n 1024" in line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, ""), "ulimit -n 1024"),
        (BlockingIOError(errno.EAGAIN, ""), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.ENOMEM, ""), "ulimit -v"),
        (MemoryError(), "ulimit -v"),
    ],
)
def test_each_limit_says_what_to_raise(error, words):
    assert words in str(explain_limit(error))
    assert explain_limit(OSError(errno.ENOENT, "")) is None


def test_a_pool_that_cannot_start_all_workers_ends_those_that_did(monkeypatch):
    started, fork = [], pool_module.WorkerPool._start_worker

    def start(pool):
        if started:
            raise OSError(errno.EMFILE, "Too many open files")
        fork(pool)
        started.extend(pool._workers)

    monkeypatch.setattr(pool_module.WorkerPool, "_start_worker", start)
    with pytest.raises(OSError, match="Too many open files"):
        pool_module.WorkerPool([], 2, 1, 0, "", lambda: False)
    assert [worker.is_alive() for worker in started] == [False]


@pytest.mark.parametrize(
    ("env", "cores"),
    [({}, 8), ({"PADDLE_LOCAL_SIZE": "4"}, 2), ({"PADDLE_LOCAL_SIZE": "16"}, 1), ({"SLURM_CPUS_PER_TASK": "3"}, 3)],
)
def test_the_cores_of_a_node_are_shared_by_its_ranks(monkeypatch, env, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))
    assert available_cores(env) == cores
