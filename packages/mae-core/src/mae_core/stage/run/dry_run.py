"""`--dry-run`: what a training run would be, with nothing written."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import paddle
import yaml

from mae_core.process import distributed
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config, to_dict
from mae_core.stage.run.estimate import MEMORY_FACTOR, TIME_FACTOR, Estimate, estimate
from mae_core.stage.run.lifecycle import Run
from mae_core.stage.run.output_folder import planned_output
from mae_core.training.meters import clock, peak_memory_mb
from mae_core.training.run_folder import RunFolder
from mae_core.weights.load import fit_weights

MEASURED_STEPS = 4  # the first, which also starts the loader, is not counted
_PATIENCE = 20.0  # seconds that a step may be expected to take, to be measured


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
    highest = trainer.lr_at(config.TRAIN.WARMUP_EPOCHS)
    yield (
        f"steps: {plan.total_steps - first:,} of {plan.global_batch} images, {plan.steps_per_epoch} per epoch,"
        f" {config.TRAIN.NUM_EPOCHS} epochs; learning rate {highest:.3g} at its highest"
    )
    yield from _cost(config, run, plan.total_steps - first)
    yield "nothing was written (--dry-run)"


def _cost(config: Config, run: Run, steps: int) -> Iterator[str]:
    """Yield time and memory from a few steps, or from the model's sizes where these would take too long."""
    on_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    expected = estimate(config, "gpu" if on_gpu else "cpu")
    yield f"model: {expected.parameters:,} parameters, {expected.macs / 1e9:.3g} GMACs per image and forward pass"
    if distributed.world_size() == 1 and _can_be_measured(expected, on_gpu):
        seconds = run.trainer.time_steps(run.batches(0, MEASURED_STEPS), MEASURED_STEPS)[1:]
        typical, spread = sorted(seconds)[len(seconds) // 2], max(seconds) / min(seconds)
        yield (
            f"time: {clock(typical * steps)} of training at {typical:.3g} s per step, the middle of {len(seconds)}"
            f" measured ones (slowest over fastest {spread:.2f}); validations and checkpoints come on top"
        )
        yield f"memory: {peak_memory_mb():.0f} MB at most so far, measured"
        return
    yield (
        f"time: about {clock(expected.seconds * steps)} of training, from the model's sizes alone: right within a"
        f" factor of {TIME_FACTOR} either way"
    )
    yield f"memory: about {expected.memory / 2**20:.0f} MB per rank, within a factor of {MEMORY_FACTOR}"


def _can_be_measured(expected: Estimate, on_gpu: bool) -> bool:
    free: Any = float("inf")
    if not on_gpu and hasattr(os, "sysconf"):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return expected.seconds <= _PATIENCE and expected.memory * MEMORY_FACTOR <= free
