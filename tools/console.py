"""The console scripts of this environment, run as a user types them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def call(*words: object) -> str:
    """Show a command, run it, show its output as it comes, and return it; a failure ends the program."""
    return call_together([words])[0]


def call_together(commands: Sequence[Sequence[object]]) -> list[str]:
    """Run commands at the same time, the cores shared among them.

    The first one's output is shown as it comes, that of the others when they have ended: small models
    gain little from a second core, two of them side by side do.

    Returns:
        what each printed.

    Raises:
        SystemExit: one failed, with its exit code.
    """
    for words in commands:
        print(f"\n$ {shlex.join(map(str, words))}", flush=True)
    processes = [start(words, threads=max(1, (os.cpu_count() or 1) // len(commands))) for words in commands]
    outputs = [_follow(processes[0]), *(process.communicate()[0] for process in processes[1:])]
    for words, output in zip(commands[1:], outputs[1:], strict=True):
        print(f"\n# {shlex.join(map(str, words))}\n{output}", end="", flush=True)
    code = next((code for process in processes if (code := process.wait())), 0)
    if code:
        raise SystemExit(code)
    return outputs


def start(words: Sequence[object], threads: int) -> "subprocess.Popen[str]":
    """Start a script with so many threads unless the user has set a number."""
    command = [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _follow(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return "".join(lines)
