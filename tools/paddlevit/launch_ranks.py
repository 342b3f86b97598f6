"""One process per GPU, as PaddleViT's scripts start by themselves."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ALONE = ("-eval", "--eval", "-h", "--help", "--version", "--dry-run", "--help-config", "--completion")


def gpus(env: Mapping[str, str], found: int) -> list[str]:
    """Return the GPUs to use: those of CUDA_VISIBLE_DEVICES where it is set, else all that were found."""
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return [str(number) for number in range(found)]


def launch_unless_launched(script: str, argv: Sequence[str]) -> None:
    """Replace this process by Paddle's launcher where several GPUs are there and no launcher has started it."""
    names = gpus(os.environ, len(list(Path("/dev").glob("nvidia[0-9]*"))))
    if "PADDLE_TRAINER_ID" in os.environ or len(names) < 2 or not argv or any(word in _ALONE for word in argv):
        return
    launcher = [sys.executable, "-m", "paddle.distributed.launch", f"--gpus={','.join(names)}"]
    os.execv(sys.executable, [*launcher, os.path.abspath(script), *argv])
