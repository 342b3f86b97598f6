"""A worker process of the loader: its start, its work and how it ends. It needs no Paddle."""

import ctypes
import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.loading.batch import BatchMemory

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Signals that ask the run to stop or to save: they are the main process's business, even where a
# batch system sends them to every process of a job.
MAIN_PROCESS_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
EXIT_HINTS = {
    "SIGKILL": "the system may be out of memory; use fewer workers",
    "SIGBUS": "the memory for its batches ran out; use fewer workers or smaller batches",
}
STATES = {"T": "it is stopped", "t": "it is stopped", "D": "it waits for a disk or network"}


class Dataset(Protocol):
    """What the loader needs of a dataset."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[npt.NDArray[Any], Any, np.int64]:
        """Return (image [H, W, C], label or other target, index) of a key (epoch, index)."""
        ...


@contextmanager
def shielded_start() -> Iterator[None]:
    """Shield worker processes that are started in the block from signals and garbage of the main process.

    Signals that ask the run to stop stay blocked in them for good: the mask is inherited, so that there
    is no moment in which one could strike. What exists now is frozen and never collected in them:
    garbage of an earlier loader would end processes that are not there.
    """
    gc.freeze()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, MAIN_PROCESS_SIGNALS)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of every fork beside threads; workers use nothing that Paddle's threads hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run_worker(dataset: Dataset, tasks: Connection, memory: Sequence[BatchMemory], parent_pid: int) -> None:
    """Fill batches until the main process closes its end of `tasks`.

    A task is (number, place in `memory`, (N, K)); the answer (number, shape and type of an image, error).
    """
    detach_worker(parent_pid)
    while True:
        try:
            number, place, shape = tasks.recv()
        except (EOFError, OSError):
            return
        answer: Any = None
        error: Exception | None = None
        try:
            answer = fill_batch(dataset, memory[place], shape)
        except DataError as failure:
            error = DataError(str(failure))
        except Exception:
            error = RuntimeError(f"a loader worker failed:\n{traceback.format_exc()}")
        try:
            tasks.send((number, answer, error))
        except OSError:  # nobody listens any more
            return


def fill_batch(dataset: Dataset, memory: BatchMemory, shape: tuple[int, int]) -> tuple[tuple[int, ...], str]:
    """Read the samples of a batch's keys into its memory; return shape and type of an image."""
    count, width = shape
    progress = memory.progress()
    targets, indices = memory.targets(count, width), memory.indices(count)
    images = None
    keys = memory.keys(count, width).tolist()
    fetch_ahead(dataset, keys)
    for i, key in enumerate(keys):
        image, targets[i], indices[i] = dataset[tuple(key)]
        if images is None:
            images = memory.images(count, width, image.shape, image.dtype)
        if (image.shape, image.dtype) != (images.shape[1:], images.dtype):
            raise ValueError(
                f"the images of a batch must have one shape and type, but this dataset gave {images.shape[1:]} "
                f"{images.dtype} and {image.shape} {image.dtype}"
            )
        images[i] = image
        progress[0] = i + 1
    assert images is not None
    return images.shape[1:], images.dtype.str


def fetch_ahead(dataset: Dataset, keys: Sequence[Sequence[int]]) -> None:
    """Let a dataset whose images are far away fetch those of a batch at the same time."""
    if fetch := getattr(dataset, "fetch", None):
        fetch(keys)


def detach_worker(parent_pid: int) -> None:
    """Make the calling worker process die with its parent, and keep the terminal's signals from it.

    Args:
        parent_pid: process that started this one.
    """
    os.setpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


def end_workers(workers: Sequence[BaseProcess]) -> None:
    """End workers at once, stopped ones too; they hold nothing that has to be saved."""
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def describe_exit(code: int) -> str:
    """Describe how a process ended, by its exit code or signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (f" ({EXIT_HINTS[name]})" if name in EXIT_HINTS else "")


def describe_state(pid: int) -> str:
    """Describe what keeps a process from working; an empty string where the system shows no such reason."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
    return STATES.get(state, "")
