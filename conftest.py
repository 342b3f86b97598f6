"""Share the cores between the test workers.

OpenMP reads its thread count when Paddle is imported, and a child process inherits it, so it is
set here: pytest loads this file before any test module. A value that is already set stays.
Indexes that the tests make go with the tests, not into the user's cache.
"""

import os
import signal
import tempfile
from typing import Any

import pytest

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CHOSEN_HERE = "OMP_NUM_THREADS" not in os.environ

if CHOSEN_HERE:
    os.environ["OMP_NUM_THREADS"] = str(CORES)

CACHE = tempfile.TemporaryDirectory(prefix="mae-data-")  # gone when pytest ends; xdist's workers inherit it
os.environ.setdefault("MAE_DATA_CACHE", CACHE.name)


# A shell starts background jobs with Ctrl-C ignored, `nohup` with SIGHUP: programs under test would keep that.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Divide the cores before xdist starts its workers, which inherit the value."""
    if CHOSEN_HERE:
        os.environ["OMP_NUM_THREADS"] = str(max(1, CORES // len(specs)))
