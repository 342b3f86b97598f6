"""The training loop: batches in, checkpoints out. A stage supplies the loss.

Every rank runs the same steps. What is random depends on (seed, step, rank) or on the sample, never on
history, so a resumed run goes on exactly where the other stopped.
"""

import math
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from mae_core.errors import NonFiniteError, Stopped
from mae_core.process import distributed, log, watchdog
from mae_core.process.signals import Stop
from mae_core.training.checkpoints.capture import Pass, write_capture
from mae_core.training.checkpoints.checkpoint import model_arrays, restore, take_snapshot
from mae_core.training.checkpoints.retention import Checkpoints
from mae_core.training.meters import StepMetrics, mean_over_ranks
from mae_core.training.optim import Ema, trainable
from mae_core.training.plan import Plan, Samples
from mae_core.training.precision import Precision
from mae_core.training.progress import Progress
from mae_core.training.run_folder import RunFolder
from mae_core.training.sharding import ShardedOptimizer, collect, shard_optimizer
from mae_core.training.stop_request import StopRequest
from mae_core.training.validation import Validation
from mae_core.training.writers import Pictures
from mae_core.weights.checkpoint_folder import Checkpoint
from mae_core.weights.checkpoint_state import State

LossFn = Callable[[nn.Layer, Samples, int], tuple[Tensor, dict[str, float]]]


@dataclass
class Trainer:
    """One training run.

    Args:
        loss_fn: (model, batch, epoch) -> scalar loss and metrics to log, which are averaged as the loss is.
        lr_at: fractional epoch -> learning rate.
        folder: where checkpoints and `log.jsonl` go; None on ranks that write nothing.
        config: written into every checkpoint.
        data: images and their hash, {"train": {"images", "sha256"}}; written into every checkpoint.
        describe: (indices int64 [N] of a batch) -> its files, for error messages.
        ema: averaged weights, kept beside the model's; validation scores them.
        validation: when and how to score the model; the best checkpoint is kept and linked as `best`.
        data_advice: what to do when training waits for data; logged once where it does.
        loggers: boards that get the metrics too; names of `writers.BOARDS`.
        pictures: draws what boards show of the model at each checkpoint, by name, uint8 [H, W, 1 or 3].
        program: command that trains, for messages.
        data_patience: seconds that other ranks wait for this one's data.
        shard_optimizer: whether each rank keeps the optimizer's state of its share of the parameters only.
    """

    model: nn.Layer
    optimizer: paddle.optimizer.Optimizer | ShardedOptimizer
    loss_fn: LossFn
    lr_at: Callable[[float], float]
    plan: Plan
    precision: Precision
    folder: RunFolder | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Iterable[int]], str] = lambda indices: "unknown"
    ema: Ema | None = None
    validation: Validation = field(default_factory=Validation)
    data_advice: str = ""
    loggers: Sequence[str] = ()
    pictures: Callable[[nn.Layer], Pictures] | None = None
    program: str = "mae"
    data_patience: float = math.inf
    shard_optimizer: bool = False
    step: int = 0

    def __post_init__(self) -> None:
        self.progress = Progress(self.plan, self.data_advice, self.loggers, self.config)
        self._stop = StopRequest()
        self.checkpoints = Checkpoints(self.folder, self.plan.keep)
        self._bad_steps = 0
        self._parameters = [p for _, p in trainable(self.model)]
        if self.shard_optimizer:
            self.optimizer = shard_optimizer(self.optimizer, self._parameters)
        self._wrapped = distributed.wrap(self.model)
        self._step_seconds = 120.0  # for the first; a rank that takes five times as long is taken for hung
        self._passes: list[tuple[np.ndarray, float]] = []  # of this step and rank: indices, loss
        self._carried = carried_over(self.model)
        self._before: list[Tensor] = []  # what they held before this step

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a verified checkpoint (`weights.checkpoint_folder.newest_checkpoint`)."""
        state = checkpoint.state
        restore(checkpoint.folder, self.model, self.optimizer)  # 1. weights and moments
        self.precision.load_state_dict(state.scaler)  # 2. loss scale
        self.progress.meter.load(state.meter)  # 3. the open logging interval
        if self.ema:
            self.ema.load(checkpoint.averages() or model_arrays(self.model))  # 4. averaged weights
        if state.validation:
            self.validation.load(state.validation)  # 5. the best so far
        self._bad_steps, self.step = state.bad_steps, state.step  # 6. the position
        if not self.checkpoints.adopt(checkpoint.folder, self.step, self.validation.best_step):
            self.validation.best = None  # the folder lacks it

    def fit(self, batches: Iterable[Samples]) -> None:
        """Train to the end of the plan; `batches` starts at `self.step`.

        Raises:
            NonFiniteError: the loss, or many gradients in a row, are NaN or infinite.
            CheckpointError: one could not be written; earlier ones are intact.
            Stopped: a signal came; the state is saved.
        """
        stream = iter(batches)
        watchdog.before_leaving(self.checkpoints.wait)
        self.model.train()
        self._stop = StopRequest()
        shown = self.progress.display(self.folder, self.step, self.validation.scored)
        with self._stop as stop, shown, self.checkpoints.finished():
            if self._validation_due():  # the run was stopped before it
                self._finish_step(stop, None)
            while self.step < self.plan.total_steps:
                self._finish_step(stop, self._train_step(stream, stop))

    def stopping(self) -> bool:
        """Return whether a signal asked the run to stop; a loader that waits in vain shall give up then."""
        return bool(self._stop)

    def time_steps(self, batches: Iterable[Samples], count: int) -> list[float]:
        """Do steps without reporting or saving; return the seconds that each took."""
        stream, seconds = iter(batches), []
        self.model.train()
        with StopRequest() as stop:
            for _ in range(count):
                started = time.perf_counter()
                self._train_step(stream, stop)
                seconds.append(time.perf_counter() - started)
        return seconds

    def _train_step(self, stream: Iterator[Samples], stop: StopRequest) -> Stop | None:
        """Do one optimizer step; return why to stop, where any rank was asked to."""
        started = time.perf_counter()
        lr = self.lr_at(self.step / self.plan.steps_per_epoch)  # 1. learning rate and generator of this step
        self.optimizer.set_lr(lr)
        paddle.seed((self.plan.seed * 1_000_003 + self.step) * 4096 + distributed.rank())
        own = self._accumulate(stream)  # 2. forward and backward; gradients are averaged over ranks
        step, asked = mean_over_ranks(own, stop.asked)  # 3. loss, metrics and signals, in one reduction
        if not math.isfinite(step.loss):  # 4. NaN on every rank, so all stop here, before the update
            raise self._not_finite(f"loss is {step.loss}")
        with watchdog.doing("updating weights", 5 * self._step_seconds):  # 5. weights, unless a gradient is not finite
            norm = self.precision.update(self.optimizer, self._parameters, self.plan.clip_grad)
            self._count_bad_steps(math.isfinite(norm))
        if self.ema:
            self.ema.update(self.model)  # 6. their average
        self.step += 1
        metrics = {"loss": step.loss, "grad_norm": norm if math.isfinite(norm) else 0.0, **step.metrics}
        self.progress.step_done(self.step, lr, metrics, int(step.images), step.waited)  # 7. meters and log
        self._step_seconds = time.perf_counter() - started
        return asked

    def _accumulate(self, stream: Iterator[Samples]) -> StepMetrics:
        """Run the step's batches forward and backward; gradients are averaged over ranks in the last one only."""
        epoch, n = self.step // self.plan.steps_per_epoch, self.plan.accum_iter
        step = StepMetrics()
        self._passes, self._before = [], [each.clone() for each in self._carried]
        for i in range(n):
            started = time.perf_counter()
            with watchdog.doing("reading data", self.data_patience):
                batch = self._next_batch(stream)
            step.waited += time.perf_counter() - started
            local = distributed.no_sync(self._wrapped) if i < n - 1 else nullcontext()
            with watchdog.doing("computing", 5 * self._step_seconds), local:
                with self.precision.autocast():
                    loss, metrics = self.loss_fn(self._wrapped, batch, epoch)
                with watchdog.doing("computing gradients", 5 * self._step_seconds):
                    self.precision.backward(loss / n)
            value = float(loss)
            step.add(value / n, {name: float(metric) / n for name, metric in metrics.items()}, len(batch.images))
            self._passes.append((batch.indices.numpy(), value))
        return step

    def _next_batch(self, stream: Iterator[Samples]) -> Samples:
        """Take a batch; where none can be had, save what was trained so far, and go on with the error or the stop."""
        try:
            return next(stream)
        except Exception:
            if isinstance(self.optimizer, ShardedOptimizer):  # the others, who have parts of it, do not save now
                log.LOGGER.warning("the optimizer is sharded: steps since the last checkpoint are lost")
            elif self.step:
                self._undo_batches()
                self._write()
            if not self._stop.asked:
                raise
            raise self._stopped(self._stop.asked, ", while no data came") from None

    def _undo_batches(self) -> None:
        """Take the batches of this step out of queues and batch norms again."""
        for each, before in zip(self._carried, self._before, strict=True):
            each.set_value(before)

    def _count_bad_steps(self, finite: bool) -> None:
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if not finite:
            log.LOGGER.warning(f"step {self.step}: gradient is not finite, step skipped ({self._bad_steps} in a row)")
        if self._bad_steps >= self.plan.max_bad_steps:
            raise self._not_finite(f"{self._bad_steps} steps in a row had a NaN or infinite gradient, the last")

    def _not_finite(self, what: str) -> NonFiniteError:
        """Keep the step, to be done again, and return the error that names it; every rank knows of all."""
        rank, lr, epoch = distributed.rank(), self.optimizer.get_lr(), self.step // self.plan.steps_per_epoch
        own = [Pass(rank, loss, indices.tolist(), self.describe(indices)) for indices, loss in self._passes]
        passes = [one for of_rank in distributed.gather(own) for one in of_rank]
        bad = [one.files for one in passes if not math.isfinite(one.loss)] or [one.files for one in passes]
        message = f"{what} at epoch {epoch} step {self.step} lr {lr:.3e}"
        message += f"; the weights were not updated; batch: {', '.join(bad)}"
        self._undo_batches()
        collect(self.optimizer)
        if self.folder:
            where = {"step": self.step, "epoch": epoch, "lr": lr, "seed": self.plan.seed}
            averages = self.ema.arrays() if self.ema else None
            snapshot = take_snapshot(self.model, self.optimizer, self._state(), averages)
            message += "; " + write_capture(self.folder.path, snapshot, where, passes, self.program)
        return NonFiniteError(message)

    def _finish_step(self, stop: StopRequest, asked: Stop | None) -> None:
        """Save and validate where it is time; raise Stopped when a signal asks for it and work is left."""
        self.checkpoints.check()
        last, due = self.step == self.plan.total_steps, self._validation_due()
        if last or asked or due or self.step % self.plan.save_freq == 0:
            self.save()  # before scoring, which may fail or be killed: the training is not lost then
            if self.pictures:
                self.progress.pictures(self.step, self.model, self.pictures)
        if due and not asked:
            asked = self._validate(stop)
        if asked and (not last or self._validation_due()):
            self.checkpoints.wait()
            distributed.barrier()  # a rank that ends first may end the others
            raise self._stopped(asked)

    def _stopped(self, asked: Stop, when: str = "") -> Stopped:
        """Return the error that says how to go on, as far as this rank knows the folder."""
        advice = f"; resume with -resume {shlex.quote(str(self.folder.path))}" if self.folder else ""
        return Stopped(f"stopped by a signal after step {self.step}{when}{advice}", asked.value)

    def _validation_due(self) -> bool:
        return self.validation.due(self.step, self.plan.total_steps)

    def _validate(self, stop: StopRequest) -> Stop | None:
        """Score the model; return why to stop when a signal to any rank cut it short."""
        started = time.perf_counter()
        try:
            scores = self.validation.score(self.model, self.ema, self.step, self.stopping)
        except Exception:
            if not stop:
                raise
            return stop.asked  # its loader gave up waiting
        if scores is None:
            return Stop.first(distributed.sum_over_ranks(Stop.counts(stop.asked))) or Stop.TERMINATED
        self.progress.scored(self.step, scores, time.perf_counter() - started)
        self.checkpoints.note_score(self.step, self.validation.state(), self.validation.best_step)
        return None

    def save(self) -> None:
        """Begin to write a checkpoint on the main rank, unless this step's is there; ranks wait for its copy only."""
        self._write()
        distributed.barrier()

    def _write(self) -> None:
        averages = self.ema.arrays if self.ema else None
        self.checkpoints.save(self.model, self.optimizer, self._state(), averages, self.validation.best_step)

    def _state(self) -> State:
        return State(
            step=self.step,
            scaler=self.precision.state_dict(),
            meter=self.progress.meter.state(),
            bad_steps=self._bad_steps,
            validation=self.validation.state(),
            config=self.config,
            data=self.data,
            world_size=distributed.world_size(),
        )


def carried_over(model: nn.Layer) -> list[Tensor]:
    """Return what a forward pass changes: buffers, such as queues, and batch norms' averages."""
    # To Paddle these are parameters that are not trained.
    averages = [p for name, p in model.named_parameters() if name.endswith(("._mean", "._variance"))]
    return [*model.buffers(), *averages]
