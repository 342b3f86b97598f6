"""A small program around the loader, run and killed by test_loader.py.

It prints the process ids of its workers, then `batch` for each batch. SIGTERM asks it to stop after the
current batch, as a training run does.
"""

import multiprocessing
import signal
import sys
import time

import numpy as np

from mae_data.loader import make_loader
from mae_data.sampler import TrainBatchSampler

stop = False


class Zeros:
    """A data set of zeros that takes its time."""

    def __getitem__(self, key):
        time.sleep(0.005)
        return np.zeros((8, 8, 1), np.uint8), np.int64(0), np.int64(key[1])


def ask_to_stop(number, frame):
    global stop
    stop = True


def main():
    signal.signal(signal.SIGTERM, ask_to_stop)
    loader = make_loader(Zeros(), TrainBatchSampler(64, 4, seed=0, num_steps=10_000), num_workers=2)
    for number, _ in enumerate(loader):
        if number == 0:
            print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
        print("batch", flush=True)
        if sys.argv[1] == "fail" and number == 3:
            raise KeyError("a fault in the training step")
        if sys.argv[1] == "exit" and number == 3:
            sys.exit(7)
        if stop:
            print("stopping", flush=True)
            break


main()
