"""Out of memory, in one line that names what to lower. Needs no Paddle."""

import errno

from mae_core.errors import UserError
from mae_core.stage.system_limits import explain_limit

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
