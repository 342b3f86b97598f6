"""`--dry-run`: what a training run would be, with nothing written; measured, or estimated by the model's sizes."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
import yaml

from mae_core.models.cost import ModelSize, mae_macs, mae_parameters, vit_macs, vit_parameters
from mae_core.process import distributed, log
from mae_core.process.runtime import available_cores
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config, flatten, to_dict
from mae_core.stage.run.lifecycle import Run
from mae_core.stage.run.output_folder import planned_output
from mae_core.training.meters import clock, peak_memory_mb
from mae_core.training.run_folder import RunFolder
from mae_core.weights.load import fit_weights

# Multiply-accumulates a second that training reaches, about; machines differ by the factor that is printed with them.
# Measured on a core of an AMD EPYC: 4.0e10 to 4.5e10 (192 to 768 wide), 2.5e10 (128 wide).
_SPEED = {"cpu": 3e10, "gpu": 4e13}  # of a core, of a card
TIME_FACTOR, MEMORY_FACTOR = 4, 2
_ROOM = 300 * 2**20  # bytes of the process itself
_WORDS_PER_TOKEN = 20  # numbers that a block keeps for the backward pass, over its width; attention is kept apart
MEASURED_STEPS = 4
MOST_STEPS, _MEASURING = 40, 2.0  # more of them where they are short, and fit into so many seconds
_PATIENCE = 20.0  # seconds that a step may be expected to take, to be measured


@dataclass(frozen=True)
class Estimate:
    """A step of one rank: seconds of computing, and the bytes that training holds at most."""

    seconds: float
    memory: float
    parameters: int
    macs: int


def estimate(config: Config, device: str, frozen_macs: int = 0) -> Estimate:
    """Estimate a step; right within TIME_FACTOR and MEMORY_FACTOR either way on common machines.

    Args:
        device: `cpu` or `gpu`.
        frozen_macs: see `lifecycle.Run`.
    """
    size, m = _size(config), config.MODEL
    images = config.DATA.BATCH_SIZE
    if "DECODER" in m:
        decoder, is_cross = m.DECODER, m.DECODER.KIND == "cross"
        predicted = decoder.PREDICTED if is_cross else None
        macs, parameters = mae_macs(size, m.MASK_RATIO, predicted).total, mae_parameters(size).total
        kept = round(size.num_patches * (1 - m.MASK_RATIO))
        activations = _activations(size.embed_dim, size.depth, 1 + kept, m.ENCODER.NUM_HEADS)
        tokens = round(size.num_patches * decoder.PREDICTED) if is_cross else 1 + size.num_patches
        activations += _activations(decoder.EMBED_DIM, decoder.DEPTH, tokens, decoder.NUM_HEADS)
        if is_cross:  # each block's mixture, before and after its norm, with its key and value
            activations += decoder.DEPTH * (1 + kept) * 2 * (size.embed_dim + decoder.EMBED_DIM)
    else:
        macs, parameters = vit_macs(size), vit_parameters(size)
        activations = _activations(size.embed_dim, size.depth, 1 + size.num_patches, m.ENCODER.NUM_HEADS)
    frozen = m.TYPE == "LINEARPROBE"
    passes = 1 if frozen else 3  # forward, and twice as much backward
    # OMP_NUM_THREADS may be a list, its first number counts.
    threads = int((os.environ.get("OMP_NUM_THREADS") or str(available_cores())).partition(",")[0])
    speed = _SPEED[device] * (threads if device == "cpu" else 1)
    seconds = (passes * macs + frozen_macs) * images * config.TRAIN.ACCUM_ITER / speed
    memory = _ROOM + parameters * (4 if frozen else 16) + images * activations * 4 / (m.ENCODER.DEPTH if frozen else 1)
    return Estimate(seconds, memory, parameters, macs)


def _activations(width: int, depth: int, tokens: int, heads: int) -> float:
    return depth * tokens * (_WORDS_PER_TOKEN * width + 2 * heads * tokens)


def _size(config: Config) -> ModelSize:
    m, d = config.MODEL, config.DATA
    side = d.IMAGE_SIZE if isinstance(d.IMAGE_SIZE, int) else tuple(d.IMAGE_SIZE)
    decoder: dict[str, Any] = {}
    if "DECODER" in m:
        kind, width, depth = m.DECODER.KIND, m.DECODER.EMBED_DIM, m.DECODER.DEPTH
        decoder = {"decoder_kind": kind, "decoder_embed_dim": width, "decoder_depth": depth}
    return ModelSize(
        embed_dim=m.ENCODER.EMBED_DIM,
        depth=m.ENCODER.DEPTH,
        patch_size=m.PATCH_SIZE,
        img_size=side,
        in_chans=d.IMAGE_CHANNELS,
        mlp_ratio=m.MLP_RATIO,
        num_classes=m.get("NUM_CLASSES", 0),
        **decoder,
    )


def dry_run(opened: Opened, build: Callable[[Config, RunFolder | None], Run]) -> Iterator[str]:
    """Yield the lines that describe a run: config, data, weights, steps, time and memory.

    Raises:
        UserError: what would refuse the run itself.
    """
    config = opened.config
    yield yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None).rstrip()
    distributed.init()
    run = build(config, None)
    trainer, plan = run.trainer, run.trainer.plan
    yield f"data: {run.images:,} training images below {config.DATA.DATA_PATH}"
    first = 0
    if opened.checkpoint:
        first = opened.checkpoint.state.step
        yield f"resumes {opened.checkpoint.folder} at step {first}"
    elif opened.weights:
        yield from fit_weights(trainer.model, opened.weights).lines()
    yield f"output: {planned_output(config)}"
    some = range(0, plan.total_steps, max(1, plan.total_steps // 10_000))  # millions would take seconds
    highest = max(trainer.lr_at(step / plan.steps_per_epoch) for step in some)
    yield (
        f"steps: {plan.total_steps - first:,} of {plan.global_batch} images, {plan.steps_per_epoch} per epoch,"
        f" {plan.epochs:g} epochs; learning rate {highest:.3g} at its highest"
    )
    timing = time_step(config, run)
    yield from timing.lines(plan.total_steps - first)
    yield "nothing was written (--dry-run)"
    if not opened.checkpoint:
        yield from run.advice(timing.mean * plan.total_steps)


@dataclass(frozen=True)
class Timing:
    """A step of a run.

    Args:
        expected: from the model's sizes alone.
        measured: seconds of each step that was tried; none where these would take too long, or there are several ranks.
    """

    expected: Estimate
    measured: Sequence[float] = ()

    @property
    def mean(self) -> float:
        """Seconds of a step: the mean, of which many steps are made."""
        return sum(self.measured) / len(self.measured) if self.measured else self.expected.seconds

    def lines(self, steps: int) -> Iterator[str]:
        """Yield model, time and memory of so many steps."""
        macs = f"{self.expected.macs / 1e9:.3g} GMACs per image and forward pass"
        yield f"model: {self.expected.parameters:,} parameters, {macs}"
        if self.measured:
            count, spread = len(self.measured), max(self.measured) / min(self.measured)
            yield (
                f"time: {clock(self.mean * steps)} of training at {self.mean:.3g} s per step, the mean of {count}"
                f" measured ones (slowest over fastest {spread:.2f}); validations and checkpoints come on top"
            )
            yield f"memory: {peak_memory_mb():.0f} MB at most so far, measured"
            return
        yield (
            f"time: about {clock(self.mean * steps)} of training, from the model's sizes alone: right within a"
            f" factor of {TIME_FACTOR} either way"
        )
        yield f"memory: about {self.expected.memory / 2**20:.0f} MB per rank, within a factor of {MEMORY_FACTOR}"


_timed: dict[str, Timing] = {}


def time_step(config: Config, run: Run) -> Timing:
    """Time a few steps of a run, or estimate one where these would take too long; the same step is timed once."""
    lengths = {"SAVE", "SAVE_FREQ", "REPORT_FREQ", "TRAIN.NUM_EPOCHS", "TRAIN.WARMUP_EPOCHS"}
    name = repr({key: value for key, value in flatten(to_dict(config)).items() if key not in lengths})
    if name not in _timed:
        _timed[name] = _time_step(config, run)
    return _timed[name]


def _time_step(config: Config, run: Run) -> Timing:
    expected = estimate(config, "gpu" if has_gpu() else "cpu", run.frozen_macs)
    if distributed.world_size() > 1 or not _can_be_measured(expected, has_gpu()):
        return Timing(expected)
    timing = Timing(expected, _measure(run, 0, MEASURED_STEPS))
    more = min(MOST_STEPS, int(_MEASURING / timing.mean))
    if more < MEASURED_STEPS:
        return timing
    return Timing(expected, [*timing.measured, *_measure(run, MEASURED_STEPS, more)])


def _measure(run: Run, first: int, count: int) -> list[float]:
    """Return the seconds of steps but the first, which also starts the loader."""
    with log.silence():
        return run.trainer.time_steps(run.batches(first, first + count), count)[1:]


def has_gpu() -> bool:
    """Return whether training runs on a GPU."""
    return bool(paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0)


def _can_be_measured(expected: Estimate, on_gpu: bool) -> bool:
    free = math.inf if on_gpu else _free_memory()
    return expected.seconds <= _PATIENCE and expected.memory * MEMORY_FACTOR <= free


def _free_memory() -> float:
    """Return the bytes that the system has to give: files that it keeps in memory make room."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return math.inf
