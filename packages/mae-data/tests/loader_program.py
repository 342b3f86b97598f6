"""A small program around the loader, run and killed by test_loader.py.

It prints the process ids of its workers, then `batch` for each batch. SIGTERM asks it to stop after the
current batch, as a training run does. The iteration is kept until the program ends: nothing but the end
of the program ends the workers.
"""

import multiprocessing
import signal
import sys
import time

import numpy as np

from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import TrainBatchSampler

stop = False
kept = []


class Zeros:
    """A data set of zeros that takes its time; in mode `stuck` each read of the second epoch hangs."""

    def __getitem__(self, key):
        stuck = sys.argv[1] == "stuck" and key[0] == 1
        time.sleep(60 if stuck else 0.005)
        return np.zeros((8, 8, 1), np.uint8), np.int64(0), np.int64(key[1])


def ask_to_stop(number, frame):
    global stop
    stop = True


def main():
    signal.signal(signal.SIGTERM, ask_to_stop)
    loader = make_loader(Zeros(), TrainBatchSampler(64, 4, seed=0, num_steps=10_000), num_workers=2)
    kept.append(iter(loader))
    for number, _ in enumerate(kept[0]):
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
