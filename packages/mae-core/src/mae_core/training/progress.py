"""What a run reports: a line for people and a record for programs per interval, and a bar over its steps."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from paddle import nn

from mae_core.process import log
from mae_core.process.run_log import RunLog, record_kind, spoken_epoch
from mae_core.training.meters import IntervalMeter, SlowData, clock, peak_memory_mb, spoken_speed
from mae_core.training.plan import Plan
from mae_core.training.run_folder import RunFolder
from mae_core.training.writers import Pictures, Writer, open_writers


class Progress:
    """The metrics of the open interval, and where they go.

    Args:
        plan: how often to report.
        data_advice: what to do when training waits for data; logged once where it does.
        loggers: boards that get the metrics too; names of `writers.BOARDS`.
        config: shown on them.
    """

    def __init__(
        self,
        plan: Plan,
        data_advice: str = "",
        loggers: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.plan = plan
        self.meter = IntervalMeter()
        self._slow_data = SlowData(data_advice)
        self._loggers, self._config = loggers, config or {}
        self._writers: list[Writer] = []
        self._can_draw = True
        self._bar = log.progress_bar(0, 0)

    @contextmanager
    def display(self, folder: RunFolder | None, step: int, scored: int) -> Iterator[None]:
        """Open log and bar for a run at `step` whose last validation was after step `scored`.

        Records of steps that the run has gone back before are dropped; a score may be logged before it is kept.
        """
        last = {"train": step, "validation": min(step, scored)}
        if folder:
            log_file = RunLog(folder.log, lambda record: record["step"] <= last.get(record_kind(record), step))
            self._writers = open_writers(log_file, self._loggers, folder.path, self._config)
        self._bar = log.progress_bar(self.plan.total_steps, step)
        try:
            yield
        finally:
            self._bar.close()
            while self._writers:
                self._writers.pop().close()

    def step_done(self, step: int, lr: float, metrics: dict[str, float], images: int, waited: float) -> None:
        """Count an optimizer step, and report where an interval ends.

        Args:
            step: steps done.
            metrics: loss, gradient norm and what the stage's loss returns beside, over all ranks.
            images: of all ranks.
            waited: seconds without data.
        """
        self.meter.add(metrics, images, waited)
        self._bar.update()
        if step % self.plan.report_freq == 0 or step == self.plan.total_steps:
            self._report(step, lr)
            self.meter.reset()

    def scored(self, step: int, scores: dict[str, float], seconds: float) -> None:
        """Record a validation and what it cost; the seconds that it took do not count as training."""
        self.meter.exclude(seconds)
        self._write("validation", step, {**scores, "seconds": round(seconds, 2)})

    def pictures(self, step: int, model: nn.Layer, draw: Callable[[nn.Layer], Pictures]) -> None:
        """Show pictures of a model on the boards where there are any; `draw` makes them, each uint8 [H, W, 1 or 3].

        The seconds it took are none of training, the model's mode is as before, and a failure to draw ends no run.
        """
        if len(self._writers) < 2 or not self._can_draw:  # the log alone takes none
            return
        started = time.perf_counter()
        model.eval()
        try:
            drawn = draw(model)
        except Exception as error:
            self._can_draw = False
            log.LOGGER.warning(f"pictures for the boards cannot be drawn ({error}); the run goes on without them")
            return
        finally:
            model.train()
        for writer in self._writers:
            writer.write("pictures", step, drawn)
        self.meter.exclude(time.perf_counter() - started)

    def _report(self, step: int, lr: float) -> None:
        plan, means, speeds, memory = self.plan, self.meter.means(), self.meter.speeds(), peak_memory_mb()
        left = (plan.total_steps - step) * speeds["s_per_step"]
        log.LOGGER.info(
            f"epoch {step / plan.steps_per_epoch:.2f}/{spoken_epoch(plan.epochs)}"
            f" step {step}/{plan.total_steps} loss {means['loss']:.4f} lr {lr:.2e}"
            f" {spoken_speed(speeds['images_per_s'])}"
            f" data wait {speeds['data_wait']:.0%} memory {memory:.0f} MB"
            f" eta {clock(left)}"
        )
        if warning := self._slow_data.after_interval(speeds["data_wait"]):
            log.LOGGER.warning(warning)
        rounded = {name: round(value, 4) for name, value in speeds.items()}
        rounded |= {"eta_s": round(left, 1), "memory_mb": round(memory, 1)}
        self._write("train", step, {"lr": lr, **means, **rounded})

    def _write(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        for writer in self._writers:
            writer.write(kind, step, {"epoch": step / self.plan.steps_per_epoch, **metrics})
