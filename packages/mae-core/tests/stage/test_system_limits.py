"""Out of memory: recognised whoever says it, answered with what to lower."""

import errno

import numpy as np
import pytest

from mae_core.errors import UserError
from mae_core.stage.run.system_limits import OutOfMemory, explain

PADDLE = (
    "(ResourceExhausted) Fail to alloc memory of 320 size, error code is 12.\n"
    "  [Hint: Expected error == 0, but received error:12 != 0:0.] (at /paddle/cpu_allocator.cc:44)"
)
GPU = (
    "\n\nOut of memory error on GPU 0. Cannot allocate 16.000000GB memory on GPU 0, 79.1GB memory has been allocated."
    "\n\nPlease check whether there is any other process using GPU 0.\n"
)


def numpy_error():
    with pytest.raises(MemoryError) as raised:
        np.ones((1 << 20, 1 << 20, 1 << 10))
    return raised.value


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory; lower DATA.BATCH_SIZE"),
        (MemoryError(PADDLE), "out of memory (Fail to alloc memory of 320 size, error code is 12); lower"),
        (RuntimeError(GPU), "out of memory (Out of memory error on GPU 0. Cannot allocate 16.000000GB memory"),
        (SystemError("ResourceExhaustedError: " + GPU), "out of memory (Out of memory error on GPU 0"),
        (RuntimeError("std::bad_alloc"), "out of memory; lower"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory; lower"),
        (numpy_error(), "out of memory (Unable to allocate 8.00 PiB"),
    ],
)
def test_memory_is_named_in_one_line(error, said):
    explained = explain(error)
    assert isinstance(explained, OutOfMemory)
    assert str(explained).startswith(said)
    assert "MODEL.GRAD_CHECKPOINTING" in str(explained)
    assert "\n" not in str(explained)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too few files may be open"),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), "too few files may be open"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no further process or thread may start"),
        (RuntimeError("can't start new thread"), "no further process or thread may start"),
    ],
)
def test_other_limits_are_named_with_what_to_raise(error, said):
    explained = explain(error)
    assert isinstance(explained, UserError)
    assert str(explained).startswith(said)
    assert "ulimit" in str(explained)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOSPC, "No space"), KeyError("memory"), UserError("out of memory")]
)
def test_other_errors_stay(error):
    assert explain(error) is error
