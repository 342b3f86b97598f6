"""Limits of the system that end a command: what to raise, in one line."""

import errno
import os
from collections.abc import Callable

from mae_data.errors import StoreError

_NEEDED_FILES = 1024


def explain_limit(error: BaseException) -> StoreError | None:
    """Say which limit an error tells of and how it is raised; None for other errors."""
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
