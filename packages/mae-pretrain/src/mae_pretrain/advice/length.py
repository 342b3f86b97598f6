"""How long to train: a length of time, the pace of a run, and the epochs that fill it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from mae_core.process import distributed, log
from mae_core.stage.config.node import Config, Values
from mae_core.stage.config.to_data_arguments import global_batch_of
from mae_core.stage.run.dry_run import Timing, estimate, has_gpu, time_step
from mae_core.stage.run.lifecycle import Run
from mae_data.loading.sampler import steps_per_epoch
from mae_pretrain.advice.rules import EPOCHS, FEW_STEPS, SAVES, WARMUP
from mae_pretrain.build import train_dataset

LONGEST = 86400.0  # seconds of a run that nobody gave a length
_CHECKPOINTS = 10  # of a run, about


@dataclass(frozen=True)
class Pace:
    """How fast a run is.

    Args:
        config: the run's.
        steps_per_epoch: optimizer steps.
        timing: of a step.
    """

    config: Config
    steps_per_epoch: int
    timing: Timing

    def steps_in(self, seconds: float) -> float:
        """Return how many steps are done in that time."""
        return seconds / self.timing.mean

    def seconds_of(self, epochs: float) -> float:
        """Return how long epochs take."""
        return epochs * self.steps_per_epoch * self.timing.mean


def pace_of(config: Config, build: Callable[[Config], Run]) -> Pace:
    """Measure some steps of a run, or estimate one; nothing is written.

    Several ranks build a run together, and the main one alone chooses, so theirs is estimated.
    """
    if distributed.world_size() > 1:
        timing = Timing(estimate(config, "gpu" if has_gpu() else "cpu"))
        return Pace(config, steps_per_epoch(len(train_dataset(config)), **global_batch_of(config)), timing)
    with log.silence():
        run = build(config)
        return Pace(config, run.trainer.plan.steps_per_epoch, time_step(config, run))


def fill(pace: Pace, seconds: float, typed: Collection[str]) -> tuple[Values, list[str]]:
    """Fill a time with epochs, with warm-up in proportion.

    Args:
        typed: keys that the user states, which are left alone.

    Returns:
        values by dotted key, and lines that say how long that is.
    """
    train = pace.config.TRAIN
    epochs = train.NUM_EPOCHS if EPOCHS in typed else round_epochs(pace.steps_in(seconds) / pace.steps_per_epoch)
    warmup = round_epochs(train.WARMUP_EPOCHS / train.NUM_EPOCHS * epochs)
    values = {EPOCHS: epochs, WARMUP: min(warmup, epochs), SAVES: max(1, int(epochs / _CHECKPOINTS))}
    steps = max(1, round(epochs * pace.steps_per_epoch))
    way = f"the mean of {len(pace.timing.measured)} measured ones" if pace.timing.measured else "estimated"
    lines = [
        f"{epochs:g} epochs, {warmup:g} of them warm-up: {steps:,} steps of {pace.timing.mean:.2g} s ({way}) take about"
        f" {spoken_time(pace.seconds_of(epochs))}"
    ]
    if steps < FEW_STEPS:
        lines.append(
            f"that is short: digits' features were no better than untrained ones after 210 steps, and much better"
            f" after {FEW_STEPS}; {FEW_STEPS} take {spoken_time(FEW_STEPS * pace.timing.mean)} here"
        )
    return {key: value for key, value in values.items() if key not in typed}, lines


def round_epochs(epochs: float) -> float | int:
    """Round a number of epochs: to whole ones from a hundred on, else to three digits."""
    return round(epochs) if epochs >= 100 else float(f"{epochs:.3g}")


def spoken_time(seconds: float) -> str:
    """Format a length of time as people say it, in two digits.

    Examples:
        >>> [spoken_time(seconds) for seconds in (1.234, 120, 5400, 86400, 4e7)]
        ['1.2 s', '2 min', '1.5 h', '24 h', '460 days']
    """
    for unit, size, most in (("s", 1, 100), ("min", 60, 5400), ("h", 3600, 259_200)):
        if seconds < most:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds / 86400:.2g}'):g} days"
