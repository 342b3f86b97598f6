"""mae-core and mae-data may not import each other; what both need, both do alike."""

import io
import os
from pathlib import Path

import pytest

import mae_core.files
import mae_data.files
from mae_core.process import runtime, stdio
from mae_data import cli, limits

ENVIRONMENTS = [
    {},
    {"SLURM_CPUS_PER_TASK": "1"},
    {"SLURM_CPUS_PER_TASK": "3", "PADDLE_LOCAL_SIZE": "8"},
    {"PADDLE_LOCAL_SIZE": "4"},
    {"PADDLE_LOCAL_SIZE": "64"},
]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_cores_are_those_of_the_job_and_shared_by_its_ranks(env: dict[str, str], monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert limits.available_cores(env) == runtime.available_cores(env)
    assert limits.available_cores(env) == [8, 1, 3, 2, 1][ENVIRONMENTS.index(env)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("red", [stdio.red, cli.red])
def test_errors_are_red_where_the_terminal_takes_it(red) -> None:
    assert red("x", Terminal(), {"TERM": "xterm"}) == "\x1b[31mx\x1b[0m"
    for stream, env in ((io.StringIO(), {"TERM": "xterm"}), (Terminal(), {}), (Terminal(), {"TERM": "dumb"}),
                        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})):  # fmt: skip
        assert red("x", stream, env) == "x"


def test_files_are_written_alike(tmp_path, monkeypatch) -> None:
    asked: list[tuple[str, str]] = []

    def record(name: str, function):
        def recording(target, *rest):
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            asked.append((name, Path(path).name))
            return function(target, *rest)

        return recording

    monkeypatch.setattr(os, "fsync", record("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", record("replace", os.replace))
    mask = os.umask(0o027)
    try:
        mae_core.files.write_atomic(tmp_path / "x.json", b"core")
        by_core, asked[:] = list(asked), []
        mae_data.files.write_atomically(tmp_path / "x.json", b"data")
    finally:
        os.umask(mask)
    assert asked == by_core
    assert len(asked) == 3
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640
