"""Limits of the system on files, processes, threads and addresses, in one line that names what to raise.

Needs no Paddle.
"""

import errno

from mae_core.errors import UserError

_FILES = "too few files may be open{}; raise the limit (ulimit -n 1024), or lower DATA.NUM_WORKERS"
_PROCESSES = "no further process or thread may start{}; raise the limit (ulimit -u), or lower DATA.NUM_WORKERS"
_ADDRESSES = (
    "too little memory to load Paddle's libraries{}; raise the limit (ulimit -v): they take 1.2 GB of addresses"
)
# What the loader of shared libraries and Paddle's own print where mapping them fails.
_UNLOADED = ("failed to map segment", "cannot allocate memory in static TLS", "dynamic_loader.cc")
_SIGNS = ("can't start new thread", "Resource temporarily unavailable")


def explain_limit(error: Exception) -> UserError | None:
    """Return an error that names the limit behind an error; None for other errors, of memory too."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in str(error):
        return UserError(_FILES.format(_now("RLIMIT_NOFILE")))
    if number == errno.EAGAIN or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)):
        return UserError(_PROCESSES.format(_now("RLIMIT_NPROC")))
    if (limit := _now("RLIMIT_AS")) and any(sign in str(error) for sign in _UNLOADED):
        return UserError(_ADDRESSES.format(limit))
    return None


def _now(name: str) -> str:
    try:
        import resource
    except ImportError:  # not a Unix
        return ""
    limit = resource.getrlimit(getattr(resource, name))[0]
    return "" if limit == resource.RLIM_INFINITY else f" (now {limit})"
