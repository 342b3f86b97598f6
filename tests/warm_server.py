"""The process that `warm_commands.py` starts: it has Paddle and the stages loaded, and forks one command per request.

It never computes and starts no thread, so a fork of it is as good as a process that has just done its imports.
mae_core comes first, as in a command: it prepares what Paddle reads while it is imported.
"""

import atexit
import contextlib
import json
import os
import runpy
import socket
import sys
import threading
import traceback
from importlib import import_module

from mae_core.process.runtime import configure, import_paddle

MODULES = (
    *(
        "mae_core.cli",
        "mae_core.stage.cli.command",
        "mae_core.stage.config.from_weights",
        "mae_data.cli",
    ),
    *(f"mae_{stage}.{name}" for stage in ("pretrain", "finetune", "probe") for name in ("cli", "train", "evaluate")),
    "sklearn.linear_model",  # yardsticks of a run that begins
)


def main(channel: socket.socket) -> None:
    """Fork a command for each request until the other end closes the channel."""
    load()
    while message := receive(channel):
        request, files = message
        if not os.fork():
            channel.close()
            keep(request, files)
        for file in files:
            os.close(file)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    with contextlib.suppress(ChildProcessError):
        while os.wait():  # so that the time of all counts as this process's
            pass


def load() -> None:
    """Import what commands import."""
    import_paddle()
    for module in MODULES:
        with contextlib.suppress(ModuleNotFoundError):  # only some packages may be installed
            import_module(module)


def receive(channel: socket.socket) -> tuple[dict, list[int]] | None:
    """Take one request and the descriptors for output, errors and state; None when there are no more."""
    size, files, _, _ = socket.recv_fds(channel, 8, 3)
    if not size:
        return None
    body = b""
    while len(body) < int.from_bytes(size, "big"):
        body += channel.recv(int.from_bytes(size, "big") - len(body))
    return json.loads(body), files


def keep(request: dict, files: list[int]) -> None:
    """Fork the command, report its process number, wait for it, report how it ended."""
    output, errors, state = files
    if not (pid := os.fork()):
        os.close(state)
        for file, number in ((output, 1), (errors, 2)):
            os.dup2(file, number)
        for file in {output, errors}:
            os.close(file)
        become(request)
    os.close(output)
    os.close(errors)
    os.write(state, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(state, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: dict) -> None:
    """Run a module as `python -m` does, and end as Python ends."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(configure() | request["env"])  # MKL reads its variable when it first computes
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - those of the server were made for what it writes to
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = [request["module"], *request["arguments"]]
    code: object = 0
    try:
        runpy.run_module(f"{request['module']}.__main__", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    os._exit(int(code or 0))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
