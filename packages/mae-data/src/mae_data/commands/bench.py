"""`mae-data bench`: where the time of the data path goes on this machine, and how many workers it takes."""

import itertools
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError, StoreError
from mae_data.images.jpeg import JpegImage
from mae_data.limits import available_cores
from mae_data.loading.dataset import ListDataset
from mae_data.loading.sampler import KeyBatch, TrainBatchSampler
from mae_data.loading.worker_pool import WorkerPool
from mae_data.rng import sample_rng
from mae_data.transforms.pipelines import CropTransform

STAGES = ("read", "decode", "resize", "collate", "transfer")
WORTH_IT = 1.1  # what more workers have to gain
TIMEOUT_SECONDS = 300.0

Copy = Callable[[npt.NDArray[Any]], object]


class Stages(NamedTuple):
    """What an image costs in one process.

    Attributes:
        seconds: mean per image, by stage.
        height, width: medians, in pixels.
    """

    seconds: dict[str, float]
    height: int
    width: int


class Rate(NamedTuple):
    """Images per second with a number of workers; 0 reads in the main process."""

    workers: int
    images_per_s: float


def measure_stages(dataset: ListDataset, indices: Sequence[int], batch_size: int) -> Stages:
    """Time the stages of images, one image after the other in this process.

    JPEG files are decoded and resized in one go: decoding is timed alone, and what a sample costs beyond it counts as
    resizing.

    Args:
        dataset: transformed by `make_pretrain_transform`.
        indices: images to take.
        batch_size: images that go to the device at once.

    Raises:
        DataError: none of them can be read.
    """
    samples, sizes = [], []
    seconds = dict.fromkeys(STAGES, 0.0)
    for index in indices:
        try:
            sample, size, times = _time_stages(dataset, index)
        except StoreError:
            raise
        except DataError:
            dataset[(0, index)]  # it skips and counts the image, as in training
            continue
        samples.append(sample)
        sizes.append(size)
        for name, taken in times.items():
            seconds[name] += taken
    if not samples:
        raise DataError(
            f"none of the {len(indices)} images that are timed can be read; `{dataset.bad.verify}` shows why"
        )
    for start in range(0, len(samples), batch_size):
        started = time.perf_counter()
        batch = np.stack(samples[start : start + batch_size])
        stacked = time.perf_counter()
        to_device()(batch)
        seconds["collate"] += stacked - started
        seconds["transfer"] += time.perf_counter() - stacked
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    return Stages({name: total / len(samples) for name, total in seconds.items()}, height, width)


def _time_stages(dataset: ListDataset, index: int) -> tuple[npt.NDArray[Any], tuple[int, int], dict[str, float]]:
    """Return an image's sample, its (height, width) and the seconds of the stages before the batch."""
    started = time.perf_counter()
    dataset.images.read(index)
    read = time.perf_counter()
    size = _decode(dataset, index)
    decoded = time.perf_counter()
    sample = dataset[(0, index)][0]
    done = time.perf_counter()
    times = {
        "read": read - started,
        "decode": max(0.0, decoded - read - (read - started)),
        "resize": max(0.0, done - decoded - (decoded - read)),
    }
    return sample, size, times


def _decode(dataset: ListDataset, index: int) -> tuple[int, int]:
    """Decode the part of an image that its crop of epoch 0 needs; return (height, width) of the image."""
    assert isinstance(dataset.transform, CropTransform)
    image = dataset.open(index)
    size = (image.height, image.width)
    rng = sample_rng(dataset.seed, 0, index)
    box = dataset.transform.draw_crop(size, dataset.transform.scale, dataset.transform.ratio, rng)
    if isinstance(image, JpegImage):
        image.resized(box, box[2:])
    return size


def to_device() -> Copy:
    """Return what copies an array to Paddle's device; without Paddle, what copies it in memory."""
    if find_spec("paddle") is None:
        return np.array
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what building operators would need
        import paddle

    copy: Callable[[npt.NDArray[Any]], Any] = paddle.to_tensor
    return copy


def measure_workers(dataset: ListDataset, batch_size: int, seconds: float) -> list[Rate]:
    """Time whole batches with 0, 1, 2, 4, ... workers, up to the number of cores.

    Args:
        dataset: what to load, in the order of training.
        batch_size: images per batch.
        seconds: how long each number of workers is timed, after its first batch.

    Raises:
        InputError: the list is shorter than a batch.
    """
    if len(dataset) < batch_size:
        raise InputError(f"{len(dataset)} images are fewer than a batch of {batch_size}; give a smaller --batch-size")
    cores = available_cores()
    counts = sorted({0, cores, *(2**i for i in range(cores.bit_length()) if 2**i <= cores)})
    return [Rate(count, _rate(dataset, batch_size, seconds, count)) for count in counts]


def _rate(dataset: ListDataset, batch_size: int, seconds: float, workers: int) -> float:
    sampler = TrainBatchSampler(len(dataset), batch_size, seed=dataset.seed, num_steps=10**9)
    with closing(_batches(dataset, sampler, workers)) as batches:
        next(batches)
        started, images = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            next(batches)
            images += batch_size
        return images / (time.perf_counter() - started)


def _batches(dataset: ListDataset, keys: Iterable[KeyBatch], workers: int) -> Generator[object, None, None]:
    copy = to_device()
    if not workers:
        for batch in keys:
            yield copy(np.stack([dataset[key][0] for key in batch]))
        return
    with WorkerPool(dataset, workers, 2, TIMEOUT_SECONDS, "check the storage", lambda: False) as pool:
        yield from pool.batches(keys, lambda images, labels, indices: copy(images))


def advise(rates: Sequence[Rate]) -> Rate:
    """Return the smallest number of workers beyond which more gain little."""
    best = rates[0]
    for rate in itertools.islice(rates, 1, None):
        if rate.images_per_s > best.images_per_s * WORTH_IT:
            best = rate
    return best


def report(stages: Stages, rates: Sequence[Rate], dataset: ListDataset) -> Iterator[str]:
    """Yield the lines of a report."""
    images = dataset.images
    yield f"{images.name}: {len(images)} images, median {stages.width}x{stages.height} pixels"
    total = sum(stages.seconds.values())
    yield ""
    yield "stage      ms/image  images/s  share"
    for name, seconds in stages.seconds.items():
        yield f"{name:9} {seconds * 1000:9.3f} {1 / max(seconds, 1e-9):9.0f} {seconds / total:6.0%}"
    yield f"{'together':9} {total * 1000:9.3f} {1 / total:9.0f}"
    yield ""
    yield "workers  images/s"
    for rate in rates:
        yield f"{rate.workers:7} {rate.images_per_s:9.0f}"
    best = advise(rates)
    yield ""
    yield f"set NUM_WORKERS to {best.workers} per rank: {best.images_per_s:.0f} images/s, more gain less than 10 %"
    slowest = max(stages.seconds, key=lambda name: stages.seconds[name])
    yield f"{slowest} takes most: {ADVICE[slowest]}"
    yield from dataset.skipped()


ADVICE = {
    "read": "move the images to a faster disk, or into memory",
    "decode": "store the images with a shorter side of 256 to 512 pixels; for large ones try DECODER fast",
    "resize": "store the images with a shorter side of 256 to 512 pixels; for large ones try DECODER fast",
    "collate": "nothing to gain but by fewer or smaller images",
    "transfer": "nothing to gain but by fewer or smaller images",
}
