"""Standard output and error without what compiled code prints there."""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what compiled code prints to itself; where the block fails, it is shown on standard error."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    with tempfile.TemporaryFile() as kept:
        for number in saved:
            os.dup2(kept.fileno(), number)
        failed = True
        try:
            yield
            failed = False
        finally:
            ctypes.CDLL(None).fflush(None)  # what it still holds back
            for number, stream in saved.items():
                os.dup2(stream, number)
                os.close(stream)
            if failed:
                kept.seek(0)
                os.write(2, kept.read())
