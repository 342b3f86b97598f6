"""Two worker processes against two threads that do the same, alone and beside a busy main thread.

    python packages/mae-data/benchmarks/processes_or_threads.py FOLDER_WITH_TRAIN_LIST [SECONDS]

The compiled part does not hold the interpreter's lock, but the Python around it does: a main thread that also runs
Python, as a training step does, has to share it. Both ways take turns.
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from mae_data.loading.dataset import ListDataset
from mae_data.loading.sampler import KeyBatch, TrainBatchSampler
from mae_data.loading.worker_pool import WorkerPool
from mae_data.transforms.pipelines import Transform, make_finetune_transform, make_pretrain_transform

BATCH, WORKERS, PREFETCH, ROUNDS = 64, 2, 2, 5
STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def from_processes(dataset: ListDataset, keys: Iterator[KeyBatch]) -> Iterator[Any]:
    """Load with worker processes."""
    with WorkerPool(dataset, WORKERS, PREFETCH, 300, "", lambda: False) as pool:
        yield from pool.batches(keys, lambda images, labels, indices: np.array(images))


def from_threads(dataset: ListDataset, keys: Iterator[KeyBatch]) -> Iterator[Any]:
    """Load with threads, a batch each."""

    def load(batch: KeyBatch) -> Any:
        return np.stack([dataset[key][0] for key in batch])

    with ThreadPoolExecutor(WORKERS) as threads:
        ahead = [threads.submit(load, batch) for batch in islice(keys, WORKERS * PREFETCH)]
        while True:
            batch = ahead.pop(0).result()
            ahead.append(threads.submit(load, next(keys)))
            yield batch


def compute(until: float) -> int:
    """Run Python until a point in time; return how much was done."""
    done = 0
    while time.perf_counter() < until:
        done += sum(i * i for i in range(100)) > 0
    return done


def images_per_s(dataset: ListDataset, load: Callable[..., Any], seconds: float) -> float:
    """Take batches as fast as they come."""
    with closing(load(dataset, iter(TrainBatchSampler(len(dataset), BATCH, seed=0, num_steps=10**9)))) as batches:
        next(batches)
        started, images = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            images += len(next(batches))
        return images / (time.perf_counter() - started)


def work_beside(dataset: ListDataset, load: Callable[..., Any], seconds: float) -> float:
    """Measure the Python that the main thread gets done while the workers are busy, and takes no batch."""
    with closing(load(dataset, iter(TrainBatchSampler(len(dataset), BATCH, seed=0, num_steps=10**9)))) as batches:
        next(batches)
        return compute(time.perf_counter() + seconds) / seconds


def main() -> None:
    """Print medians over the rounds."""
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    transforms: dict[str, Transform] = {
        "pre-training": make_pretrain_transform(image_size=224),
        "fine-tuning": make_finetune_transform(image_size=224, **STATISTICS),
    }
    for name, transform in transforms.items():
        dataset = ListDataset(sys.argv[1], "train_list.txt", transform, labels="optional")
        rates: dict[str, list[float]] = {"processes": [], "threads": []}
        beside: dict[str, list[float]] = {"processes": [], "threads": []}
        for _ in range(ROUNDS):
            for way, load in (("processes", from_processes), ("threads", from_threads)):
                rates[way].append(images_per_s(dataset, load, seconds))
                beside[way].append(work_beside(dataset, load, 0.1))
        for way in rates:
            rate, work = np.median(rates[way]), np.median(beside[way])
            print(f"{name}, {way}: {rate:.0f} images/s; main thread {work:.0f} loops/s beside them")


if __name__ == "__main__":
    main()
