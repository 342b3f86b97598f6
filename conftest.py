"""Share the cores between the test workers, leave the slow tests out, let no test hang.

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


SLOW_SECONDS = 900  # a test that is not slow has the `timeout` of pyproject.toml


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of tests."""
    parser.addoption("--slow", action="store_true", help="run the tests that are marked slow, and no others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the slow tests or the others; a test that is named with `::` runs in any case."""
    for item in items:
        if item.path.is_relative_to(config.rootpath / "packages/mae-data/tests"):
            item.add_marker("once")  # mae-data knows no Paddle
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    named = tuple(argument for argument in config.args if "::" in argument)
    chosen = [
        item
        for item in items
        if bool(item.get_closest_marker("slow")) == config.option.slow or item.nodeid.startswith(named)
    ]
    if left_out := [item for item in items if item not in chosen]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say at the end what was left out."""
    if not config.option.slow:
        line = "slow tests (demo, notebooks, pages, wheels, chaos) were left out: python3 tools/dev.py test --slow"
        terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Divide the cores before xdist starts its workers, which inherit the value."""
    if CHOSEN_HERE:
        os.environ["OMP_NUM_THREADS"] = str(max(1, CORES // len(specs)))
