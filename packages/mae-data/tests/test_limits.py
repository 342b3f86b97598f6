"""Limits of the system: one line that says what to raise, in a process of its own that has them."""

import errno
import os
import resource

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.limits import explain_limit


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data/a").mkdir(parents=True)
    for i in range(40):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / f"data/a/{i}.png")
    return tmp_path / "data"


def limited(call, limit, value):
    """Run a call in a forked process that has a limit; return its result."""
    pid = os.fork()
    if not pid:
        os.closerange(3, 1024)
        resource.setrlimit(limit, (value, value))
        try:
            os._exit(call())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("files", [8, 10, 12, 14])
def test_few_descriptors_are_named(folder, capfd, files):
    code = limited(lambda: main(["verify", str(folder), "--workers", "8"]), resource.RLIMIT_NOFILE, files)
    said = capfd.readouterr().err.splitlines()
    assert code == 3
    assert len(said) == 1
    assert "raise it: ulimit -n 1024" in said[0]


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
