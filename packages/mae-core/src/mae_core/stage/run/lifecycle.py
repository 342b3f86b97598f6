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
from mae_core.stage.config.from_weights import Opened, drift_flags
from mae_core.stage.config.node import Config, drifted_keys, flatten
from mae_core.stage.config.older_configs import in_present_keys
from mae_core.stage.run.model_card import Card, write_model_card
from mae_core.stage.run.output_folder import other_stage, with_output
from mae_core.stage.run.schedule_change import EPOCHS, note_schedule
from mae_core.training.checkpoints.checkpoint import model_arrays, sweep
from mae_core.training.engine import Trainer
from mae_core.training.meters import clock, spoken_speed
from mae_core.training.plan import Samples
from mae_core.training.provenance import environment_changes, recorded
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import Checkpoint, list_checkpoints
from mae_core.weights.checkpoint_state import State
from mae_core.weights.load import fit_weights
from mae_core.weights.sources import Weights

BATCH_KEYS = ("DATA.BATCH_SIZE", "TRAIN.ACCUM_ITER")  # with the number of ranks: how a global batch is cut up
TRAIN_LIST = "DATA.TRAIN_LIST"
# What a resumed run of any stage may change: where things are and how it is watched, not what is computed.
MAY_CHANGE = (
    *(EPOCHS, "SAVE", "SAVE_FREQ", "SAVE_KEEP", "REPORT_FREQ", "LOGGERS", "VALIDATE_FREQ", "EVAL"),
    *("MODEL.RESUME", "MODEL.PRETRAINED", "MODEL.CHANNELS_FROM", "MODEL.NAME", "MODEL.GRAD_CHECKPOINTING"),
    "TRAIN.SHARD_OPTIMIZER",
    *("DATA.DATA_PATH", "DATA.ALLOW_OUTSIDE", "DATA.NUM_WORKERS", "DATA.TIMEOUT", "DATA.BATCH_SIZE_EVAL"),
    "DATA.MAX_BAD",
)


@dataclass(frozen=True)
class Run:
    """What a stage brings to a training run.

    Args:
        trainer: model, optimizer, loss, plan.
        images: training images.
        batches: (first step, steps of the whole run) -> this rank's batches.
        card: what is said of the model.
        free: config keys, or groups of them, that a resumed run of this stage may change beside MAY_CHANGE.
        free_cut: whether batch, accumulation and ranks may change while the global batch stays.
        notes: lines to log of what the training images are.
        closing: returns lines to log at the end.
    """

    trainer: Trainer
    images: int
    batches: Callable[[int, int], Iterable[Samples]]
    card: Card
    free: Sequence[str] = ()
    free_cut: bool = True
    notes: Sequence[str] = ()
    closing: Callable[[], Iterable[str]] = tuple


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
        log_run(run.trainer, config.MODEL.NAME, run.images, run.notes)
        first, path = run.trainer.step, folder.path if folder else None
        with recorded(path, first, {"run": config.SEED}, config.MODEL.PRETRAINED or ""):
            fit(run.trainer, run.batches(first, run.trainer.plan.total_steps), config.SAVE)
        if path:
            write_model_card(path, run.trainer.data.get("train") or {}, run.card)
        log.log_lines([*run.closing(), *run.trainer.validation.skipped()])
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
        free: config keys, or groups of them, that a resumed run of this stage may change beside MAY_CHANGE.
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
                f"{output} holds a run already, and -resume {resume} is of another; {_advice(output, trainer)}"
            )
        _refuse_drift(trainer, checkpoint.state, free, allow_drift, free_cut)
        note_schedule(trainer, checkpoint.state)
        trainer.resume(checkpoint)
        if "TRAIN.BEST_BY" in allow_drift:
            trainer.validation.best = None  # it may be of another figure
        log.LOGGER.info(f"resumed from {checkpoint.folder} at step {trainer.step}")
        if changed := environment_changes(checkpoint.state.versions):
            log.LOGGER.warning(f"computed otherwise than before ({'; '.join(changed)}): results differ by rounding")
    elif list_checkpoints(checkpoints):
        raise ConfigError(f"{output} holds a run already; {_advice(output, trainer)}")
    elif weights:
        for line in fit_weights(trainer.model, weights).lines():
            log.LOGGER.info(line)
        if trainer.ema:
            trainer.ema.load(model_arrays(trainer.model))  # the average starts from these
    if trainer.folder:
        with refuse_unwritable(trainer.folder.config, "free some space, or choose another with -output"):
            write_atomic(trainer.folder.config, yaml.safe_dump(trainer.config, sort_keys=False).encode())


def _advice(output: str, trainer: Trainer) -> str:
    """Return what to do about an output folder that holds a run; one of another stage cannot go on."""
    if stage := other_stage(output, trainer.config):
        return f"it is of another stage ({stage}): choose another -output"
    return f"go on with it (-resume {output}), or choose another -output"


def _refuse_drift(
    trainer: Trainer, state: State, free: Sequence[str], allow_drift: Sequence[str], free_cut: bool
) -> None:
    before = in_present_keys(state.config, trainer.config)
    saved = flatten(before)
    saved_batch = state.world_size
    for key in BATCH_KEYS:
        if not isinstance(value := saved.get(key), int):
            raise CheckpointError(f"the resumed run's config has no usable {key}: it is of another program")
        saved_batch *= value
    now_batch = trainer.plan.global_batch
    cut = BATCH_KEYS if free_cut and saved_batch == now_batch else ()  # the same steps, cut up otherwise
    drift = drifted_keys(before, trainer.config, (*MAY_CHANGE, *free, *allow_drift, *cut))
    if saved_batch != now_batch and BATCH_KEYS[0] not in allow_drift:
        drift[f"{BATCH_KEYS[0]} (global batch)"] = (saved_batch, now_batch)
    if TRAIN_LIST not in allow_drift:
        drift |= _data_drift(state.data, trainer.data)
    if drift:
        keys = dict.fromkeys(key.split(" ")[0] for key in drift)
        listed = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in drift.items())
        raise CheckpointError(
            f"the resumed run had another config: {listed}. Leave it as it was, or add {drift_flags(keys)}"
        )


def _data_drift(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare the images of training, where both sides know them: older checkpoints do not."""
    old, new = saved.get("train"), now.get("train")
    if not old or not new or old == new:
        return {}
    if old["images"] != new["images"]:
        return {f"{TRAIN_LIST} (images)": (old["images"], new["images"])}
    return {f"{TRAIN_LIST} (SHA-256 of names, order and labels)": (old["sha256"][:12], new["sha256"][:12])}


def log_run(trainer: Trainer, name: str, images: int, notes: Iterable[str] = ()) -> None:
    """Log the model's size, the data, what there is to say of it, and the steps."""
    log.log_lines(notes)
    plan, world = trainer.plan, distributed.world_size()
    parameters = sum(int(p.size) for p in trainer.model.parameters())
    log.LOGGER.info(
        f"{name}: {parameters:,} parameters; {images:,} images, {plan.steps_per_epoch} steps per epoch,"
        f" {plan.total_steps // plan.steps_per_epoch} epochs; batch {plan.batch_size} x {world} ranks"
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
