"""What is measured while a run trains: sums of one step, and of the steps between two log lines."""

import math
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import paddle

from mae_core.process import distributed
from mae_core.process.signals import Stop
from mae_core.weights.checkpoint_state import Interval


@dataclass
class StepMetrics:
    """Sums over the forward passes of one step: of this rank, then of all.

    Attributes:
        loss: mean over passes, and over ranks.
        metrics: what the stage's loss returns beside, averaged likewise.
        images: how many.
        waited: seconds without data, on this rank.
    """

    loss: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    images: float = 0.0
    waited: float = 0.0

    def add(self, loss: float, metrics: Mapping[str, float], images: int) -> None:
        """Take in a forward pass: its part of the step's loss and metrics, and its images."""
        self.loss += loss
        self.images += images
        for name, value in metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + value


def mean_over_ranks(own: StepMetrics, asked: Stop | None) -> tuple[StepMetrics, Stop | None]:
    """Average losses and metrics over ranks and add images; a signal to one rank stops them all."""
    world, names = distributed.world_size(), sorted(own.metrics)
    means = [own.loss / world, *(own.metrics[name] / world for name in names)]
    summed = distributed.sum_over_ranks([own.images, *means, *Stop.counts(asked)])
    images, loss, metrics = summed[0], summed[1], summed[2 : 2 + len(names)]
    step = StepMetrics(loss, dict(zip(names, metrics, strict=True)), images, own.waited)
    return step, Stop.first(summed[2 + len(names) :])


class IntervalMeter:
    """Sums over one logging interval: losses, images, seconds, seconds spent waiting for data."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new interval."""
        self.started = time.perf_counter()
        self.steps, self.steps_before, self.images, self.waited = 0, 0, 0, 0.0
        self.sums: dict[str, float] = {}

    def add(self, metrics: dict[str, float], images: int, waited: float) -> None:
        """Count one optimizer step."""
        self.steps += 1
        self.images += images
        self.waited += waited
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def exclude(self, seconds: float) -> None:
        """Leave time that was not training (validation) out of the speeds."""
        self.started += seconds

    def state(self) -> Interval:
        """Return what a resumed run needs to finish the interval with the same means."""
        return Interval(self.steps, dict(self.sums))

    def load(self, interval: Interval) -> None:
        """Go on inside an interval; images and seconds start anew, since they measure this process."""
        self.reset()
        self.steps, self.sums = interval.steps, dict(interval.sums)
        self.steps_before = self.steps

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the interval's steps."""
        return {name: total / max(1, self.steps) for name, total in self.sums.items()}

    def speeds(self) -> dict[str, float]:
        """Return images per second, the share of the time spent waiting for data, and seconds per step."""
        seconds = max(1e-9, time.perf_counter() - self.started)
        return {
            "images_per_s": self.images / seconds,
            "data_wait": self.waited / seconds,
            "s_per_step": seconds / max(1, self.steps - self.steps_before),
        }


class SlowData:
    """Warns once that a run waits for data more than it should.

    Args:
        advice: what to do about it; without one there is no warning.
    """

    LIMIT = 0.2  # of the time

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._warm = False  # the first interval holds the start of the workers and cold files

    def after_interval(self, share: float) -> str:
        """Return the warning where it is due, else an empty string.

        Args:
            share: part of the interval's time that was spent waiting for data.
        """
        due = self._warm and share > self.LIMIT and self._advice
        self._warm = True
        if not due:
            return ""
        advice, self._advice = self._advice, ""
        return f"training waits for data {share:.0%} of the time: {advice}"


def peak_memory_mb() -> float:
    """Return the peak memory in MB: of the GPU when one is used, else of the process."""
    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
        return float(paddle.device.cuda.max_memory_allocated()) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def clock(seconds: float) -> str:
    """Format a duration as h:mm:ss."""
    minutes, secs = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{secs:02d}"


def spoken_speed(images_per_s: float) -> str:
    """Format a speed with the decimals that it needs: never 0 images/s."""
    speed = max(images_per_s, 1e-3)
    digits = 0 if speed >= 10 else min(3, 1 - math.floor(math.log10(speed)))
    return f"{speed:.{digits}f} images/s"
