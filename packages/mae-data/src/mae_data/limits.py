"""Limits of the system: the cores to use, and in one line what to raise where a limit ends a command."""

import errno
import os
from collections.abc import Callable, Mapping

from mae_data.errors import StoreError

_NEEDED_FILES = 1024


def available_cores(env: Mapping[str, str] = os.environ) -> int:
    """Return how many cores this process may use: those it may run on, shared with the other ranks of this node."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if per_task := env.get("SLURM_CPUS_PER_TASK"):  # `srun` may have bound this rank to its own cores already
        return max(1, min(cores, int(per_task)))
    return max(1, cores // max(1, int(env.get("PADDLE_LOCAL_SIZE") or 1)))


def explain_limit(error: BaseException) -> StoreError | None:
    """Return a line that names the limit an error comes from and how to raise it; None for other errors."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        return StoreError(
            f"too few files may be open{_now('RLIMIT_NOFILE')}; raise it: ulimit -n {_NEEDED_FILES}, or use fewer"
            " workers"
        )
    if number == errno.EAGAIN or "can't start new thread" in str(error):
        return StoreError(
            f"no further process or thread may start{_now('RLIMIT_NPROC')}; raise it (ulimit -u), or use fewer workers"
        )
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return StoreError(f"out of memory{_now('RLIMIT_AS')}; raise it (ulimit -v), or use fewer workers")
    return None


def _now(name: str) -> str:
    try:
        import resource
    except ImportError:  # not a Unix
        return ""
    limit: Callable[[int], tuple[int, int]] = resource.getrlimit
    now = limit(getattr(resource, name))[0]
    return "" if now == resource.RLIM_INFINITY else f" (limit {now} in process {os.getpid()})"
