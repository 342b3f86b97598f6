"""What computes a run beside its config; another one goes on, but not to the last bit."""

import os
from collections.abc import Mapping

import paddle

from mae_core.process import runtime


def environment() -> dict[str, str]:
    """Return Paddle's version, the device and, where they matter, the threads of this process."""
    device = paddle.get_device().partition(":")[0]
    threads = os.environ.get("OMP_NUM_THREADS") or str(runtime.available_cores())
    return {"paddle": paddle.__version__, "device": device, **({"threads": threads} if device == "cpu" else {})}


def changes(saved: Mapping[str, str]) -> list[str]:
    """List what computes otherwise than when a checkpoint was saved; what that does not record is no change."""
    now = environment()
    return [f"{key} {value!r}, was {saved[key]!r}" for key, value in now.items() if saved.get(key, value) != value]
