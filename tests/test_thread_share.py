"""The root conftest.py: test workers share the cores, and child processes inherit the share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workspace import ROOT

pytestmark = pytest.mark.once
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SHOWS_THREADS = """\
import os, subprocess, sys
from pathlib import Path
SHOW = "import os; print(os.environ['OMP_NUM_THREADS'])"
def test_show():
    child = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True).stdout
    Path("threads.txt").write_text(f"{os.environ['OMP_NUM_THREADS']} {child.strip()}")
"""


@pytest.mark.parametrize(
    ("workers", "preset", "expected"),
    [("0", None, CORES), ("1", None, CORES), ("2", None, max(1, CORES // 2)), ("2", "7", 7)],
)
def test_threads(workers: str, preset: str | None, expected: int, tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_show.py").write_text(SHOWS_THREADS)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "OMP"))}
    if preset:
        env["OMP_NUM_THREADS"] = preset
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "threads.txt").read_text() == f"{expected} {expected}"
