"""Running other programs, each announced in one line."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from workspace import ROOT, WorkspaceError


class CommandError(WorkspaceError):
    """A command that had to succeed did not."""

    exit_code = 1


def run(command: Sequence[str]) -> int:
    """Show a command, run it from the root of the repository and return its exit code."""
    show(command)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def run_quietly(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Show the command in one line and run it, with more variables; its last lines appear only when it fails.

    Raises:
        CommandError: The command exited non-zero.
    """
    show(command)
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-25:]), file=sys.stderr)
        raise CommandError(f"exit code {done.returncode} from: {shlex.join(command)}")


def show(command: Sequence[str]) -> None:
    """Print a command before it runs, with paths inside the repository made short."""
    print("+ " + shlex.join(command).replace(f"{ROOT}/", ""), flush=True)
