"""`provenance.json`: where a run's results come from. An entry for each time that the run was started or resumed."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import paddle

from mae_core.files import write_atomic
from mae_core.process import distributed, runtime
from mae_core.process.log import LOGGER

FILE = "provenance.json"
_DISTRIBUTIONS = ("mae-core", "mae-data", "mae-pretrain", "mae-finetune", "mae-probe", "numpy", "pillow")


@contextmanager
def recorded(folder: Path | None, first_step: int, seeds: dict[str, int], weights: str) -> Iterator[None]:
    """Write what runs to `folder/provenance.json`, and at the end, whatever ended it, how long it took.

    A disk that refuses the file ends no run: a warning names it.

    Args:
        folder: of the run; None writes nothing.
        first_step: the step that this start goes on from.
        seeds: by the name of what they decide.
        weights: what the run starts from; empty where that is nothing.
    """
    entry = {"first_step": first_step, "seeds": seeds, **_surroundings(), "weights": weights}
    entries = [*_read(folder), entry] if folder else []
    _write(folder, entries)
    started = time.perf_counter()
    try:
        yield
    finally:
        entry["seconds"] = round(time.perf_counter() - started, 3)
        entry["ended"] = _now()
        _write(folder, entries)


def _surroundings() -> dict[str, object]:
    """Return command, the folder that relative paths count from, time, versions, commit and machine."""
    return {
        "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        "folder": _here(),
        "started": _now(),
        "versions": _versions(),
        "commit": _commit(),
        "machine": _machine(),
        "ranks": distributed.world_size(),
    }


def _here() -> str:
    with suppress(OSError):  # it was removed meanwhile
        return os.getcwd()
    return ""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "paddle": paddle.__version__}
    for name in _DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _commit() -> str:
    """Return the commit of the sources, with `+changes` where they differ from it; empty outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    with suppress(OSError, subprocess.SubprocessError):
        if git("ls-files", "--", __file__):  # else the checkout is of something that the package is installed in
            return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    return ""


def _machine() -> dict[str, object]:
    machine: dict[str, object] = {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}
    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
        machine["gpu"] = paddle.device.cuda.get_device_name()
        machine["gpus"] = paddle.device.cuda.device_count()
    return machine


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(folder: Path) -> list[object]:
    """Return the entries of earlier starts; a damaged file has none."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []


def _write(folder: Path | None, entries: list[object]) -> None:
    if folder is None:
        return
    try:
        write_atomic(folder / FILE, (json.dumps({"starts": entries}, indent=1) + "\n").encode())
    except OSError as error:
        LOGGER.warning(f"{folder / FILE} cannot be written ({error.strerror}); the run goes on without it")


def environment() -> dict[str, str]:
    """Return Paddle's version, the device and, where they matter, the threads of this process."""
    device = paddle.get_device().partition(":")[0]
    threads = os.environ.get("OMP_NUM_THREADS") or str(runtime.available_cores())
    return {"paddle": paddle.__version__, "device": device, **({"threads": threads} if device == "cpu" else {})}


def environment_changes(saved: Mapping[str, str]) -> list[str]:
    """List what computes otherwise than when a checkpoint was saved; what that does not record is no change."""
    now = environment()
    return [f"{key} {value!r}, was {saved[key]!r}" for key, value in now.items() if saved.get(key, value) != value]
