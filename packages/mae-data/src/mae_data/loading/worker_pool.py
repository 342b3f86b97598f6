"""The main process's side of the loader's workers: batches asked for ahead, waited for, taken in order."""

import atexit
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

from mae_data.errors import DataError
from mae_data.loading.batch import Array, BatchMemory
from mae_data.loading.worker import Dataset, describe_exit, describe_state, end_workers, run_worker, shielded_start
from mae_data.sources.source import TargetType

POLL_SECONDS = 1.0
WARN_SECONDS = 60.0
STOP_SECONDS = 3.0  # a batch that comes by then lets all ranks end with the same step
GRACE_SECONDS = 1.0  # between the end of a pipe and that of its process

Copied = TypeVar("Copied")
Copy = Callable[[Array, Array, Array], Copied]

log = logging.getLogger(__name__)


class _Order(NamedTuple):
    """A batch that is asked for.

    Attributes:
        worker: number of the worker that fills it.
        place: number of its memory.
        shape: (N, K) of its keys.
    """

    worker: int
    place: int
    shape: tuple[int, int]


class WorkerPool:
    """Processes that fill batches in shared memory; use it as a context, in the main thread.

    Args:
        dataset: gives (image, label, index) for a key; `describe(key)`, where it has that, names a sample, and
            `target_type` says what stands in the label's place.
        num_workers: processes.
        prefetch: batches that each worker reads ahead.
        timeout: longest wait for a batch in seconds; 0 waits for ever. Either way a long wait is logged as a warning.
        advice: ends the message about a wait that was too long.
        stop: returns whether the run was asked to stop; a wait of some seconds is given up then.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_workers: int,
        prefetch: int,
        timeout: float,
        advice: str,
        stop: Callable[[], bool],
    ) -> None:
        self._dataset, self._timeout, self._advice, self._stop = dataset, timeout, advice, stop
        self._memory = [BatchMemory(TargetType.of(dataset)) for _ in range(num_workers * prefetch)]
        self._free = list(range(len(self._memory)))
        self._orders: dict[int, _Order] = {}  # by number of the batch
        self._answers: dict[int, Any] = {}
        self._pipes: list[connection.Connection] = []
        self._workers: list[BaseProcess] = []
        try:
            with shielded_start():
                for _ in range(num_workers):
                    self._start_worker()
        except OSError:  # a limit of the system; those that started would wait for work for ever
            self.close()
            raise
        # SIGTERM does not reach workers, and it is how multiprocessing would end them when the program ends.
        atexit.register(self.close)

    def _start_worker(self) -> None:
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe()
        worker = fork.Process(target=run_worker, args=(self._dataset, theirs, self._memory, os.getpid()), daemon=True)
        worker.start()
        theirs.close()  # before the next worker could inherit it: the pipe shall end with its worker
        self._pipes.append(ours)
        self._workers.append(worker)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and give their memory back."""
        atexit.unregister(self.close)
        end_workers(self._workers)
        for pipe in self._pipes:
            pipe.close()
        for memory in self._memory:
            memory.close()
        self._memory, self._pipes, self._workers = [], [], []

    def batches(self, key_batches: Iterable[Sequence[Sequence[int]]], copy: Copy[Copied]) -> Iterator[Copied]:
        """Yield a copy of each batch, in order.

        Args:
            key_batches: the keys of one batch after the other.
            copy: called with images [N, ...], targets [N, ...] and indices [N], which are views of shared memory: the
                next batch is read into it while this one is used.

        Raises:
            DataError: an image cannot be read, or a worker died or gave no batch in time; the message names it.
        """
        coming = enumerate(key_batches)
        self._order_ahead(coming)
        number = 0
        while number in self._orders:
            image_shape, image_type = self._wait_for(number)
            order = self._orders.pop(number)
            count, width = order.shape
            memory = self._memory[order.place]
            images = memory.images(count, width, image_shape, image_type)
            batch = copy(images, memory.targets(count, width), memory.indices(count))
            del images
            self._free.append(order.place)
            self._order_ahead(coming)
            yield batch
            number += 1

    def _order_ahead(self, coming: Iterator[tuple[int, Sequence[Sequence[int]]]]) -> None:
        """Ask for batches as long as there is memory for them, each from the worker that has the fewest to do."""
        while self._free and (item := next(coming, None)):
            number, keys = item
            place = self._free.pop()
            shape = self._memory[place].put_keys(keys)
            busy = [order.worker for order in self._orders.values()]
            worker = min(range(len(self._workers)), key=busy.count)
            self._orders[number] = _Order(worker, place, shape)
            try:
                self._pipes[worker].send((number, place, shape))  # some bytes: a full pipe cannot block
            except OSError:
                self._raise_if_ended(worker)
                raise

    def _wait_for(self, number: int) -> tuple[tuple[int, ...], str]:
        """Wait until a batch is there; return shape and type of its images.

        The wait is cut into short ones, in which Python's signal handlers run.
        """
        started = warned = time.monotonic()
        while number not in self._answers:
            ready = connection.wait(self._pipes, POLL_SECONDS)
            for worker in [w for w, pipe in enumerate(self._pipes) if pipe in ready]:
                self._receive(worker)
            now = time.monotonic()
            if number in self._answers:
                break
            self._raise_if_too_long(number, now - started)
            if now - warned > WARN_SECONDS:
                log.warning("%s", self._describe_wait(number, now - started))
                warned = now
        answer, error = self._answers.pop(number)
        if error is not None:
            raise error
        return answer

    def _raise_if_too_long(self, number: int, seconds: float) -> None:
        if self._timeout and seconds > self._timeout:
            raise DataError(f"{self._describe_wait(number, seconds)}; {self._advice}")
        if seconds > STOP_SECONDS and self._stop():
            raise DataError(f"{self._describe_wait(number, seconds)}; the wait ends, since the run was asked to stop")

    def _receive(self, worker: int) -> None:
        try:
            number, answer, error = self._pipes[worker].recv()
        except (EOFError, OSError):
            self._raise_if_ended(worker)
            raise
        self._answers[number] = answer, error

    def _raise_if_ended(self, number: int) -> None:
        worker = self._workers[number]
        worker.join(GRACE_SECONDS)
        if worker.exitcode is not None:
            raise DataError(f"loader worker {number} (pid {worker.pid}) {describe_exit(worker.exitcode)}")

    def _describe_wait(self, number: int, seconds: float) -> str:
        """Describe which worker is waited for, its state, and the sample that it reads."""
        worker, place, (count, width) = self._orders[number]
        pid = self._workers[worker].pid
        assert pid is not None
        state = describe_state(pid)
        memory = self._memory[place]
        at = min(int(memory.progress()[0]), count - 1)
        describe = getattr(self._dataset, "describe", str)
        sample = describe(tuple(memory.keys(count, width)[at].tolist()))
        text = f"loader worker {worker} (pid {pid}) gave no batch for {seconds:.0f} seconds"
        return f"{text}{f' ({state})' if state else ''}; it is at {sample}"
