"""Limits of memory and of the system, each in one line that names what to lower or to raise. Needs no Paddle."""

import errno

from mae_core.errors import UserError

# What Paddle's messages hold where a device or the machine has no more; not each of them is a MemoryError.
_SIGNS = (
    "ResourceExhausted",
    "Out of memory",
    "out of memory",
    "Cannot allocate memory",
    "bad_alloc",
    "bad allocation",
)
_ADVICE = (
    "lower DATA.BATCH_SIZE (with TRAIN.ACCUM_ITER raised as much, the global batch stays), DATA.BATCH_SIZE_EVAL or"
    " DATA.NUM_WORKERS; set AMP true, or MODEL.GRAD_CHECKPOINTING true where the stage has it, or on several ranks"
    " TRAIN.SHARD_OPTIMIZER"
)
_FILES = "too few files may be open{}; raise the limit (ulimit -n 1024), or lower DATA.NUM_WORKERS"
_PROCESSES = "no further process or thread may start{}; raise the limit (ulimit -u), or lower DATA.NUM_WORKERS"
_ADDRESSES = (
    "too little memory to load Paddle's libraries{}; raise the limit (ulimit -v): they take 1.2 GB of addresses"
)
# What the loader of shared libraries and Paddle's own print where mapping them fails.
_UNLOADED = ("failed to map segment", "cannot allocate memory in static TLS", "dynamic_loader.cc")
_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")


class OutOfMemory(UserError):
    """The machine or the device has too little memory for what was asked."""


def explain(error: Exception) -> Exception:
    """Turn what Paddle, NumPy or the system raise at a limit into an error of ours; leave other errors as they are."""
    if hasattr(error, "exit_code"):
        return error
    if not _is_memory(error):
        return explain_limit(error) or error
    text = " ".join(str(error).split())
    detail = next(
        (
            text[text.index(sign) :][:150].partition(". [Hint")[0]
            for sign in ("Out of memory", "Unable to", "Fail")
            if sign in text
        ),
        "",
    )
    return OutOfMemory(f"out of memory{f' ({detail})' if detail else ''}; {_ADVICE}")


def _is_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    named = isinstance(error, RuntimeError | SystemError | ValueError) and any(sign in str(error) for sign in _SIGNS)
    return isinstance(error, MemoryError) or named


def explain_limit(error: Exception) -> UserError | None:
    """Return an error that names the limit behind an error; None for other errors, of memory too."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in str(error):
        return UserError(_FILES.format(_now("RLIMIT_NOFILE")))
    if number == errno.EAGAIN or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_THREAD)):
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
