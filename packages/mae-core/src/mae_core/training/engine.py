"""The training loop: batches in, checkpoints out. A stage supplies the loss.

Every rank runs the same steps. What is random depends on (seed, step, rank) or on the sample, never on
history, so a resumed run goes on exactly where the other stopped.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import Tensor, nn

from mae_core import distributed, log
from mae_core.errors import NonFiniteError, Stopped
from mae_core.training.checkpoint import model_arrays, restore, save_checkpoint, update_state
from mae_core.training.ema import Ema
from mae_core.training.meters import IntervalMeter, clock, peak_memory_mb
from mae_core.training.optim import clip_gradients, grad_norm, trainable
from mae_core.training.precision import Precision
from mae_core.training.retention import link_best, prune
from mae_core.training.run_folder import RunFolder
from mae_core.training.stop_request import StopRequest
from mae_core.training.validation import Validation
from mae_core.weights.checkpoint_folder import read_ema, step_folder

Batch = Any  # what the stage's loader yields; its first part has one entry an image
LossFn = Callable[[nn.Layer, Batch, int], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Plan:
    """How long and how often.

    Args:
        steps_per_epoch, total_steps: optimizer steps.
        batch_size: images a rank and batch.
        accum_iter: batches a step on each rank; their losses are averaged.
        clip_grad: largest gradient norm, or None.
        report_freq, save_freq: steps between log lines and between checkpoints; a validation makes one too.
        keep: checkpoints to keep, beside the best one.
        max_bad_steps: steps in a row with a NaN or infinite gradient (skipped) before the run ends.
    """

    steps_per_epoch: int
    total_steps: int
    batch_size: int = 1
    accum_iter: int = 1
    clip_grad: float | None = None
    seed: int = 0
    report_freq: int = 20
    save_freq: int = 1000
    keep: int = 2
    max_bad_steps: int = 20

    @property
    def global_batch(self) -> int:
        """Images a step over all ranks and accumulated batches."""
        return self.batch_size * self.accum_iter * distributed.world_size()


@dataclass
class Trainer:
    """One training run.

    Args:
        loss_fn: (model, batch, epoch) -> scalar loss and figures to log.
        lr_at: fractional epoch -> learning rate.
        folder: where checkpoints and `log.jsonl` go; None on ranks that write nothing.
        config: written into every checkpoint.
        describe: names a batch's files, for error messages.
        ema: averaged weights, kept beside the model's; validation scores them.
        validation: when and how to score the model; the best checkpoint is kept and linked as `best`.
    """

    model: nn.Layer
    optimizer: paddle.optimizer.Optimizer
    loss_fn: LossFn
    lr_at: Callable[[float], float]
    plan: Plan
    precision: Precision
    folder: RunFolder | None = None
    config: dict[str, Any] = field(default_factory=dict)
    describe: Callable[[Batch], str] = lambda batch: "unknown"
    ema: Ema | None = None
    validation: Validation = field(default_factory=Validation)
    step: int = 0

    def __post_init__(self) -> None:
        self._meter = IntervalMeter()
        self._bad_steps = 0
        self._saved: int | None = None  # the step whose checkpoint is in the folder
        self._parameters = [p for _, p in trainable(self.model)]
        self._wrapped = distributed.wrap(self.model)

    def resume(self, checkpoint: Path, state: dict[str, Any]) -> None:
        """Go on from a verified checkpoint (`checkpoint.newest_checkpoint`)."""
        restore(checkpoint, self.model, self.optimizer)  # 1. weights and moments
        self.precision.load_state_dict(state["scaler"])  # 2. loss scale
        self._meter.load_state_dict(state["meter"])  # 3. the open logging interval
        if self.ema:
            self.ema.load(read_ema(checkpoint) or model_arrays(self.model))  # 4. averaged weights
        if state.get("validation"):
            self.validation.load_state_dict(state["validation"])  # 5. the best so far
        self._bad_steps, self.step = state["bad_steps"], state["step"]  # 6. the position
        self._adopt(checkpoint.resolve())

    def _adopt(self, checkpoint: Path) -> None:
        """Take note of what the folder holds already; a best checkpoint that it lacks is none."""
        checkpoints = self.folder.checkpoints.resolve() if self.folder else None
        here = checkpoint.parent == checkpoints
        self._saved = self.step if here else None
        best = self._best_step()
        if best and not (here and step_folder(checkpoint.parent, best).exists()):
            self.validation.best = None

    def fit(self, batches: Iterable[Batch]) -> None:
        """Train to the end of the plan; `batches` starts at `self.step`.

        Raises:
            NonFiniteError: the loss, or many gradients in a row, are NaN or infinite.
            Stopped: a signal came; the state is saved.
        """
        stream = iter(batches)
        records = log.JsonLines(self.folder.log, self._is_past) if self.folder else None
        bar = log.progress_bar(self.plan.total_steps, self.step)
        self.model.train()
        with StopRequest() as stop:
            if self._validation_due():  # the run was stopped before it
                self._finish_step(records, stop, 0)
            while self.step < self.plan.total_steps:
                stopping = self._train_step(stream, stop)
                bar.update()
                self._report(records)
                self._finish_step(records, stop, stopping)
        bar.close()
        if records:
            records.close()

    def _is_past(self, record: dict[str, Any]) -> bool:
        """Tell whether the resumed checkpoint knows of a log record; a score may be logged before it is kept."""
        upto = self.step if "loss" in record else min(self.step, self.validation.scored)
        return bool(record["step"] <= upto)

    def _finish_step(self, records: log.JsonLines | None, stop: StopRequest, stopping: int) -> None:
        """Save and validate where it is time; raise Stopped when a signal asks for it and work is left."""
        last, due = self.step == self.plan.total_steps, self._validation_due()
        if last or stopping or due or self.step % self.plan.save_freq == 0:
            self.save()  # before scoring, which may fail or be killed: the training is not lost then
        if due and not stopping:
            stopping = self._validate(records, stop)
        if stopping and (not last or self._validation_due()):
            raise Stopped(f"stopped by a signal after step {self.step}; resume with -resume", stopping)

    def _validation_due(self) -> bool:
        return self.validation.due(self.step, self.plan.total_steps)

    def _best_step(self) -> int | None:
        return self.validation.best["step"] if self.validation.best else None

    def _validate(self, records: log.JsonLines | None, stop: StopRequest) -> int:
        """Score the model; return the exit code to stop with when a signal cut it short, else 0."""
        started = time.perf_counter()
        scores = self.validation.score(self.model, self.ema, self.step, lambda: stop.exit_code is not None)
        self._meter.exclude(time.perf_counter() - started)
        if scores is None:
            return stop.exit_code or 143
        if records:
            records.write({"step": self.step, "epoch": self.step / self.plan.steps_per_epoch, **scores})
        if self.folder:
            checkpoint = step_folder(self.folder.checkpoints, self.step)
            update_state(checkpoint, {"validation": self.validation.state_dict()})
            self._keep_best()
        return 0

    def _train_step(self, stream: Iterator[Batch], stop: StopRequest) -> int:
        """Do one optimizer step; return the exit code to stop with, 0 to go on."""
        lr = self.lr_at(self.step / self.plan.steps_per_epoch)
        self.optimizer.set_lr(lr)
        paddle.seed((self.plan.seed * 1_000_003 + self.step) * 4096 + distributed.rank())
        loss, metrics, images, waited, files = self._accumulate(stream)
        world = distributed.world_size()
        loss, total_images, stopping = distributed.sum_over_ranks(
            [loss / world, float(images), float(stop.exit_code is not None)]
        )
        if not math.isfinite(loss):  # the sum is NaN on every rank, so all stop here, before the update
            raise NonFiniteError(
                f"loss is {loss} at epoch {self.step // self.plan.steps_per_epoch} step {self.step} lr {lr:.3e};"
                f" the weights were not updated; batch: {files}"
            )
        norm = self._update()
        if self.ema:
            self.ema.update(self.model)
        self._meter.add({"loss": loss, "grad_norm": norm, **metrics}, int(total_images), waited)
        self.step += 1
        return (stop.exit_code or 143) if stopping else 0  # a signal to one rank stops them all

    def _accumulate(self, stream: Iterator[Batch]) -> tuple[float, dict[str, float], int, float, str]:
        """Forward and backward over the step's batches; gradients are averaged over ranks in the last one only."""
        epoch, n = self.step // self.plan.steps_per_epoch, self.plan.accum_iter
        metrics: dict[str, float] = {}
        total, images, waited, files = 0.0, 0, 0.0, ""
        for i in range(n):
            started = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - started
            local = distributed.no_sync(self._wrapped) if i < n - 1 else None
            with local or nullcontext():
                with self.precision.autocast():
                    loss, metrics = self.loss_fn(self._wrapped, batch, epoch)
                self.precision.backward(loss / n)
            value = float(loss)
            total += value / n
            images += len(batch[0])
            if not math.isfinite(value):
                files = self.describe(batch)
        return total, metrics, images, waited, files

    def _update(self) -> float:
        """Clip and apply the gradients, unless their norm is not finite; return the norm before clipping."""
        self.precision.unscale(self.optimizer)
        norm = grad_norm(self._parameters)
        value = float(norm)
        finite = math.isfinite(value)
        if finite and self.plan.clip_grad:
            clip_gradients(self._parameters, self.plan.clip_grad, norm)
        if finite or self.precision.scaler:
            self.precision.step(self.optimizer)  # the scaler skips by itself and lowers its scale
        self.optimizer.clear_grad()
        self._count_bad_steps(finite)
        return value if finite else 0.0

    def _count_bad_steps(self, finite: bool) -> None:
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if not finite:
            log.LOGGER.warning(f"step {self.step}: gradient is not finite, step skipped ({self._bad_steps} in a row)")
        if self._bad_steps >= self.plan.max_bad_steps:
            raise NonFiniteError(
                f"{self._bad_steps} steps in a row had a NaN or infinite gradient, up to step {self.step}"
            )

    def _report(self, records: log.JsonLines | None) -> None:
        """Write a line for people and a record for programs at the end of an interval."""
        plan = self.plan
        if self.step % plan.report_freq and self.step != plan.total_steps:
            return
        means, speeds = self._meter.means(), self._meter.speeds()
        lr = self.optimizer.get_lr()
        epoch = self.step / plan.steps_per_epoch
        eta = (plan.total_steps - self.step) * speeds["s_per_step"]
        memory = peak_memory_mb()
        log.LOGGER.info(
            f"epoch {epoch:.2f}/{plan.total_steps / plan.steps_per_epoch:g} step {self.step}/{plan.total_steps}"
            f" loss {means['loss']:.4f} lr {lr:.2e} {speeds['images_per_s']:.0f} images/s"
            f" data wait {speeds['data_wait']:.0%} memory {memory:.0f} MB eta {clock(eta)}"
        )
        if records:
            figures = {k: round(v, 4) for k, v in speeds.items()}
            records.write(
                {
                    "step": self.step,
                    "epoch": epoch,
                    "lr": lr,
                    **means,
                    **figures,
                    "memory_mb": round(memory, 1),
                }
            )
        self._meter.reset()

    def save(self) -> None:
        """Write a checkpoint on the main rank, then delete what is older than the plan keeps."""
        if self.folder and self._saved != self.step:
            state = {
                "scaler": self.precision.state_dict(),
                "meter": self._meter.state_dict(),
                "bad_steps": self._bad_steps,
                "validation": self.validation.state_dict(),
                "config": self.config,
                "world_size": distributed.world_size(),
                "versions": {"paddle": paddle.__version__},
            }
            ema = self.ema.arrays() if self.ema else None
            save_checkpoint(self.folder.checkpoints, self.step, self.model, self.optimizer, state, ema)
            self._saved = self.step
            self._keep_best()
        distributed.barrier()

    def _keep_best(self) -> None:
        """Link the best checkpoint and delete what is older than the plan keeps, but for that."""
        if self.folder:
            best = self._best_step()
            if best:
                link_best(self.folder.path, best)
            prune(self.folder.checkpoints, self.step, self.plan.keep, best)
