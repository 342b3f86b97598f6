"""Commands as processes of their own, forked from one that has Paddle loaded: a tiny run costs 0.3 CPU-seconds, not 2.

What a user starts is `python -m mae_pretrain`; its first 1.3 CPU-seconds import Paddle and are the same each time.
`test_stage_cli.py` holds for each command that the honest start gives the same. What is set before Paddle is imported
(`IMPORT_TIME`) cannot be given here: such a test starts Python itself.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

IMPORT_TIME = ("LC_", "OMP_", "MKL_", "FLAGS_", "MALLOC_", "GLIBC_", "LD_", "PYTHON", "MAE_DATA_PIXELS", "SLURM_")
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL


class WarmCommand(subprocess.Popen):
    """A forked command with the interface of Popen, whose child it is not: its keeper says how it ended."""

    def __init__(
        self, words: Iterable[object], *, cwd: object = None, env: Mapping[str, str] | None = None,
        stdout: int = PIPE, stderr: int = PIPE, text: bool = True,
    ) -> None:  # fmt: skip
        self.args = [*map(str, words)]
        self.returncode: int | None = None
        self._child_created = False  # nothing for Popen's own waiting
        self._communication_started = False
        self._input = None
        self.text_mode = text
        self.stdin = None
        self.encoding, self.errors = "utf-8", "strict"
        package = self.args[2]
        assert self.args[:2] == [sys.executable, "-m"], self.args
        changed = set((os.environ if env is None else env).items()) ^ set(os.environ.items())
        assert not [name for name, _ in changed if name.startswith(IMPORT_TIME)], f"{changed}: start Python itself"
        request = {
            "module": package, "arguments": self.args[3:], "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
        }  # fmt: skip
        self.stdout, output = stream(stdout, text)
        self.stderr, errors = stream(stderr, text, output)
        state, reports = os.pipe()
        self._state = os.fdopen(state, "rb", buffering=0)
        send(request, [output, errors, reports])
        for descriptor in {output, errors, reports}:
            os.close(descriptor)
        self.pid = int(self._line())

    def _line(self) -> bytes:
        text = b""
        while not text.endswith(b"\n"):
            if not (byte := self._state.read(1)):
                raise RuntimeError(f"the warm process ended: {text!r}")
            text += byte
        return text

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._state], [], [], 0)[0]:
            self._finish()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._state], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._finish()
        assert self.returncode is not None
        return self.returncode

    def _finish(self) -> None:
        self.returncode = int(self._line())
        self._state.close()

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def __del__(self, *_: Any) -> None:
        if self.returncode is None and hasattr(self, "pid"):
            os.kill(self.pid, 9)


def run(words: Iterable[object], timeout: float = 300, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as subprocess.run with captured text does."""
    command = WarmCommand(words, **kwargs)
    try:
        output, errors = command.communicate(timeout=timeout)
    except BaseException:
        command.kill()
        command.wait(10)
        raise
    return subprocess.CompletedProcess(command.args, command.wait(timeout), output, errors)


def stream(wish: int, text: bool, output: int | None = None) -> tuple[Any, int]:
    """Return what the caller reads, and the descriptor that the command writes to."""
    if wish == subprocess.STDOUT:
        assert output is not None
        return None, output
    if wish == DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    if wish != PIPE:
        return None, os.dup(wish if isinstance(wish, int) else wish.fileno())  # type: ignore[attr-defined]
    reading, writing = os.pipe()
    return os.fdopen(reading, "r" if text else "rb", -1 if text else 0), writing


@cache
def server() -> socket.socket:
    """Start the warm process of this test process."""
    ours, theirs = socket.socketpair()
    program = [sys.executable, Path(__file__).with_name("warm_server.py"), str(theirs.fileno())]
    process = subprocess.Popen(program, pass_fds=[theirs.fileno()], stdin=DEVNULL, stdout=DEVNULL)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


def send(request: dict[str, Any], files: list[int]) -> None:
    """Hand a request over, with the descriptors that the command shall use."""
    body = json.dumps(request).encode()
    socket.send_fds(server(), [len(body).to_bytes(8, "big")], files)
    server().sendall(body)
