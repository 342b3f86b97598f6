"""What a run says of itself: a line for people and a record for programs per interval, and a bar over its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mae_core import log
from mae_core.run_log import RunLog, kind_of
from mae_core.training.meters import IntervalMeter, SlowData, clock, peak_memory_mb, spoken_speed
from mae_core.training.plan import Plan
from mae_core.training.run_folder import RunFolder


class Progress:
    """The figures of the open interval, and where they go.

    Args:
        plan: how often to report.
        data_advice: what to do when training waits for data; logged once where it does.
    """

    def __init__(self, plan: Plan, data_advice: str = "") -> None:
        self.plan = plan
        self.meter = IntervalMeter()
        self._slow_data = SlowData(data_advice)
        self._records: RunLog | None = None
        self._bar = log.progress_bar(0, 0)

    @contextmanager
    def display(self, folder: RunFolder | None, step: int, scored: int) -> Iterator[None]:
        """Open log and bar for a run at `step` whose last validation was after step `scored`.

        Records of steps that the run has gone back before are dropped; a score may be logged before it is kept.
        """
        last = {"train": step, "validation": min(step, scored)}
        if folder:
            self._records = RunLog(folder.log, lambda record: record["step"] <= last.get(kind_of(record), step))
        self._bar = log.progress_bar(self.plan.total_steps, step)
        try:
            yield
        finally:
            self._bar.close()
            if self._records:
                self._records.close()

    def step_done(self, step: int, lr: float, figures: dict[str, float], images: int, waited: float) -> None:
        """Count an optimizer step, and report where an interval ends.

        Args:
            step: steps done.
            figures: loss, gradient norm and what the stage's loss tells, over all ranks.
            images: of all ranks.
            waited: seconds without data.
        """
        self.meter.add(figures, images, waited)
        self._bar.update()
        if step % self.plan.report_freq == 0 or step == self.plan.total_steps:
            self._report(step, lr)
            self.meter.reset()

    def scored(self, step: int, scores: dict[str, float], seconds: float) -> None:
        """Record a validation and what it cost; the seconds that it took do not count as training."""
        self.meter.exclude(seconds)
        self._write("validation", step, {**scores, "seconds": round(seconds, 2)})

    def _report(self, step: int, lr: float) -> None:
        plan, means, speeds, memory = self.plan, self.meter.means(), self.meter.speeds(), peak_memory_mb()
        log.LOGGER.info(
            f"epoch {step / plan.steps_per_epoch:.2f}/{plan.total_steps / plan.steps_per_epoch:g}"
            f" step {step}/{plan.total_steps} loss {means['loss']:.4f} lr {lr:.2e}"
            f" {spoken_speed(speeds['images_per_s'])}"
            f" data wait {speeds['data_wait']:.0%} memory {memory:.0f} MB"
            f" eta {clock((plan.total_steps - step) * speeds['s_per_step'])}"
        )
        if warning := self._slow_data.after_interval(speeds["data_wait"]):
            log.LOGGER.warning(warning)
        rounded = {name: round(value, 4) for name, value in speeds.items()}
        self._write("train", step, {"lr": lr, **means, **rounded, "memory_mb": round(memory, 1)})

    def _write(self, kind: str, step: int, figures: dict[str, Any]) -> None:
        if self._records:
            self._records.write({"kind": kind, "step": step, "epoch": step / self.plan.steps_per_epoch, **figures})
