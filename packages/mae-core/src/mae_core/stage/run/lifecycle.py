"""A run of any stage, around the loop: claim the folder, begin or resume, log what runs and how it went."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mae_core.errors import CheckpointError, ConfigError
from mae_core.files import refuse_unwritable, write_atomic
from mae_core.ops import fused
from mae_core.process import distributed, log, runtime
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.run.drift import note_schedule, refuse_drift
from mae_core.stage.run.model_card import Card, write_model_card
from mae_core.stage.run.output_folder import announce, other_stage, with_output
from mae_core.training.checkpoints.checkpoint import model_arrays, sweep
from mae_core.training.engine import Trainer
from mae_core.training.meters import clock, spoken_speed
from mae_core.training.plan import Samples
from mae_core.training.provenance import environment_changes, recorded
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import Checkpoint, list_checkpoints
from mae_core.weights.load import fit_weights
from mae_core.weights.sources import Weights


@dataclass(frozen=True)
class Run:
    """What a stage brings to a training run.

    Args:
        trainer: model, optimizer, loss, plan.
        images: training images.
        batches: (first step, steps of the whole run) -> this rank's batches.
        card: how the stage describes its models.
        free: config keys, or groups of them, that a resumed run of this stage may change beside `drift.MAY_CHANGE`.
        free_cut: whether batch, accumulation and ranks may change while the global batch stays.
        notes: lines to log of what the training images are.
        skipped: returns lines on the training images that could not be used, to log at the end.
        frozen_macs: multiply-accumulates per image of a model beside the one that is trained.
        advice: (seconds that training will take, about) -> lines that a dry run ends with.
    """

    trainer: Trainer
    images: int
    batches: Callable[[int, int], Iterable[Samples]]
    card: Card
    free: Sequence[str] = ()
    free_cut: bool = True
    notes: Sequence[str] = ()
    skipped: Callable[[], Iterable[str]] = tuple
    frozen_macs: int = 0
    advice: Callable[[float], Iterable[str]] = lambda seconds: ()


def run_training(
    opened: Opened, build: Callable[[Config, RunFolder | None], Run], allow_drift: Sequence[str] = ()
) -> Trainer:
    """Train by a stage's config, from the claimed folder to the last line; resume where MODEL.RESUME asks for it.

    Args:
        opened: the config, and the weights or the checkpoint to begin with.
        build: what the stage makes of its config for a folder, which is None on ranks that write nothing.
        allow_drift: keys that may differ from the resumed checkpoint's config.

    Returns:
        the trainer, at the end of its plan.

    Raises:
        UserError: input, data, checkpoint or loss that a run cannot go on with.
    """
    config = with_output(opened.config)
    folder = open_run(config.SAVE)
    try:
        run = build(config, folder)
        begin(
            run.trainer,
            output=config.SAVE,
            resume=config.MODEL.RESUME,
            checkpoint=opened.checkpoint,
            weights=opened.weights,
            free=run.free,
            allow_drift=allow_drift,
            free_cut=run.free_cut,
        )
        if folder and opened.config.SAVE is None:
            announce(folder.path)
        log_run(run.trainer, config.MODEL.NAME, run.images, run.notes)
        first, path = run.trainer.step, folder.path if folder else None
        with recorded(path, first, {"run": config.SEED}, config.MODEL.PRETRAINED or ""):
            fit(run.trainer, run.batches(first, run.trainer.plan.total_steps), config.SAVE)
        skipped = list(run.skipped())
        if path:
            write_model_card(path, run.trainer.data.get("train") or {}, run.card, skipped)
        log.log_lines([*skipped, *run.trainer.validation.skipped()])
        return run.trainer
    finally:
        if folder:
            folder.close()  # by name: in a notebook, the trainer or the traceback of what went wrong stays alive


def open_run(output: str) -> RunFolder | None:
    """Join the other ranks, set up the log and claim the output folder; None on ranks that write nothing."""
    distributed.init()
    logger = log.setup(distributed.is_main())
    folder = RunFolder(output) if distributed.is_main() else None
    if folder:
        sweep(folder.checkpoints)
    logger.info(f"runtime: {runtime.chosen_settings()}")
    logger.info(f"operators: {fused.summary()}")
    return folder


def begin(
    trainer: Trainer,
    *,
    output: str,
    resume: str | None = None,
    checkpoint: Checkpoint | None = None,
    weights: Weights | None = None,
    free: Sequence[str] = (),
    allow_drift: Sequence[str] = (),
    free_cut: bool = True,
) -> None:
    """Start anew, from weights, or where another run stopped; then write the run's `config.yaml`.

    Args:
        output: run folder.
        resume: what the user asked to go on from; "auto" begins anew where there is no checkpoint.
        checkpoint: what that is.
        weights: to start from where nothing is resumed; the report on their keys is logged.
        free: config keys, or groups of them, that a resumed run of this stage may change beside `drift.MAY_CHANGE`.
        allow_drift: more such keys, of the user's.
        free_cut: whether batch, accumulation and ranks may change while the global batch stays.

    Raises:
        ConfigError: the folder holds a run, and resuming was not asked for, or another run is resumed.
        CheckpointError: the resumed run had another config.
    """
    checkpoints = Path(output) / "checkpoints"
    if resume == "auto" and not distributed.sum_over_ranks([float(checkpoint is not None)])[0]:
        log.LOGGER.info(f"nothing to resume in {output}: beginning anew")
        resume = None
    if resume:
        if checkpoint is None:
            raise CheckpointError(f"{checkpoints} holds no checkpoint here, while other ranks see one")
        if checkpoint.folder.resolve().parent != checkpoints.resolve() and list_checkpoints(checkpoints):
            raise ConfigError(
                f"{output} holds a run already, and -resume {resume} is of another; {_advice(output, trainer.config)}"
            )
        refuse_drift(trainer, checkpoint.state, free, allow_drift, free_cut)
        _go_on(trainer, checkpoint, allow_drift)
    else:
        refuse_used(output, trainer.config)
    if weights and not resume:
        for line in fit_weights(trainer.model, weights).lines():
            log.LOGGER.info(line)
        if trainer.ema:
            trainer.ema.load(model_arrays(trainer.model))  # the average starts from these
    if trainer.folder:
        with refuse_unwritable(trainer.folder.config, "free some space, or choose another with -output"):
            write_atomic(trainer.folder.config, yaml.safe_dump(trainer.config, sort_keys=False).encode())


def _go_on(trainer: Trainer, checkpoint: Checkpoint, allow_drift: Sequence[str]) -> None:
    """Take up a checkpoint, and log what is otherwise than before."""
    note_schedule(trainer, checkpoint.state)
    trainer.resume(checkpoint)
    if "TRAIN.BEST_BY" in allow_drift:
        trainer.validation.best = None  # it may be of another figure
    log.LOGGER.info(f"resumed from {checkpoint.folder} at step {trainer.step}")
    if changed := environment_changes(checkpoint.state.versions):
        log.LOGGER.warning(f"computed otherwise than before ({'; '.join(changed)}): results differ by rounding")


def refuse_used(output: str, config: Mapping[str, Any]) -> None:
    """Refuse an output folder that holds a run, where nothing is resumed."""
    if list_checkpoints(Path(output) / "checkpoints"):
        raise ConfigError(f"{output} holds a run already; {_advice(output, config)}")


def _advice(output: str, config: Mapping[str, Any]) -> str:
    """Return what to do about an output folder that holds a run; one of another stage cannot go on."""
    if stage := other_stage(output, config):
        return f"it is of another stage ({stage}): choose another -output"
    return f"go on with it (-resume {output}), or choose another -output"


def log_run(trainer: Trainer, name: str, images: int, notes: Iterable[str] = ()) -> None:
    """Log the model's size, the data, the notes on it, and the steps."""
    log.log_lines(notes)
    plan, world = trainer.plan, distributed.world_size()
    parameters = sum(int(p.size) for p in trainer.model.parameters())
    log.LOGGER.info(
        f"{name}: {parameters:,} parameters; {images:,} images, {plan.steps_per_epoch} steps per epoch,"
        f" {plan.epochs:g} epochs; batch {plan.batch_size} x {world} ranks"
        f" x {plan.accum_iter} = {plan.global_batch}"
    )


def fit(trainer: Trainer, batches: Iterable[Samples], output: str) -> None:
    """Train to the end of the plan and log how long it took."""
    started, first = time.perf_counter(), trainer.step
    trainer.fit(batches)
    seconds, plan = time.perf_counter() - started, trainer.plan
    if first >= plan.total_steps:
        log.LOGGER.info(
            f"nothing to train: step {first} is reached and the plan has {plan.total_steps};"
            f" checkpoints and log in {output}"
        )
        return
    images = (plan.total_steps - first) * plan.global_batch
    done = f"done: {plan.total_steps} steps in {clock(seconds)} ({spoken_speed(images / max(seconds, 1e-9))})"
    log.LOGGER.info(f"{done}; checkpoints and log in {output}")
