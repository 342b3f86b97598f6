"""A run of any stage, around the loop: claim the folder, begin or resume, say what runs and how it went."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mae_core.errors import CheckpointError, ConfigError
from mae_core.files import refuse_unwritable, write_atomic
from mae_core.ops import fused
from mae_core.process import distributed, log, runtime
from mae_core.stage.config.from_weights import drift_flags
from mae_core.stage.config.node import Config, drifted_keys, flatten
from mae_core.stage.config.older_configs import in_present_keys
from mae_core.stage.run.documents import documented
from mae_core.stage.run.output_folder import other_stage, with_output
from mae_core.stage.run.schedule_change import EPOCHS, note_schedule
from mae_core.training import environment
from mae_core.training.batch import Batch
from mae_core.training.checkpoints.checkpoint import model_arrays, sweep
from mae_core.training.engine import Trainer
from mae_core.training.meters import clock, spoken_speed
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import RESUMED, list_checkpoints, newest_checkpoint, read_state
from mae_core.weights.load import load_pretrained

BATCH_KEYS = ("DATA.BATCH_SIZE", "TRAIN.ACCUM_ITER")  # with the number of ranks: how a global batch is cut up
TRAIN_LIST = "DATA.TRAIN_LIST"
# What a resumed run of any stage may change: where things are and how it is watched, not what is computed.
MAY_CHANGE = (
    *(EPOCHS, "SAVE", "SAVE_FREQ", "SAVE_KEEP", "REPORT_FREQ", "LOGGERS", "VALIDATE_FREQ", "EVAL"),
    *("MODEL.RESUME", "MODEL.PRETRAINED", "MODEL.NAME", "MODEL.GRAD_CHECKPOINTING"),
    "TRAIN.SHARD_OPTIMIZER",
    *("DATA.DATA_PATH", "DATA.ALLOW_OUTSIDE", "DATA.NUM_WORKERS", "DATA.TIMEOUT", "DATA.BATCH_SIZE_EVAL"),
    "DATA.MAX_BAD",
)
SLACK = 15.0  # seconds


@dataclass(frozen=True)
class Run:
    """What a stage brings to a training run.

    Args:
        trainer: model, optimizer, loss, plan.
        images: training images.
        batches: (first step, steps of the whole run) -> this rank's batches.
        free: config keys, or groups of them, that a resumed run of this stage may change beside MAY_CHANGE.
        free_cut: whether batch, accumulation and ranks may change while the global batch stays.
        notes: lines to log of what the training images are.
        closing: returns lines to log at the end.
    """

    trainer: Trainer
    images: int
    batches: Callable[[int, int], Iterable[Batch]]
    free: Sequence[str] = ()
    free_cut: bool = True
    notes: Sequence[str] = ()
    closing: Callable[[], Iterable[str]] = tuple


def run_training(
    config: Config, build: Callable[[Config, RunFolder | None], Run], allow_drift: Sequence[str] = ()
) -> Trainer:
    """Train as a stage's config says, from the claimed folder to the last line; resume where MODEL.RESUME asks for it.

    Args:
        build: what the stage makes of its config for a folder, which is None on ranks that write nothing.
        allow_drift: keys that may differ from the resumed checkpoint's config.

    Returns:
        the trainer, at the end of its plan.

    Raises:
        UserError: input, data, checkpoint or loss that a run cannot go on with.
    """
    config = with_output(config)
    folder = open_run(config.SAVE)
    try:
        run = build(config, folder)
        run.trainer.program = build.__module__.partition(".")[0].replace("_", "-")
        return _train(config, run, allow_drift)
    finally:
        if folder:
            folder.close()  # by name: in a notebook, the trainer or the traceback of what went wrong stays alive


def _train(config: Config, run: Run, allow_drift: Sequence[str]) -> Trainer:
    """Begin or resume, and train to the end of the plan."""
    trainer = run.trainer
    # A loader with workers gives up by itself, and names what it waits for.
    trainer.data_patience = config.DATA.TIMEOUT + SLACK if config.DATA.TIMEOUT else math.inf
    begin(
        trainer,
        output=config.SAVE,
        resume=config.MODEL.RESUME,
        pretrained=config.MODEL.PRETRAINED,
        free=run.free,
        allow_drift=allow_drift,
        free_cut=run.free_cut,
    )
    log_run(trainer, config.MODEL.NAME, run.images, run.notes)
    with documented(trainer, config):
        fit(trainer, run.batches(trainer.step, trainer.plan.total_steps), config.SAVE)
    log.say(run.closing())
    return trainer


def open_run(output: str) -> RunFolder | None:
    """Join the other ranks, set up the log and claim the output folder; None on ranks that write nothing."""
    distributed.init()
    logger = log.setup(distributed.is_main())
    folder = RunFolder(output) if distributed.is_main() else None
    if folder:
        sweep(folder.checkpoints)
    logger.info(f"runtime: {runtime.choice()}")
    logger.info(f"operators: {fused.summary()}")
    return folder


def begin(
    trainer: Trainer,
    *,
    output: str,
    resume: str | None = None,
    pretrained: str | None = None,
    free: Sequence[str] = (),
    allow_drift: Sequence[str] = (),
    free_cut: bool = True,
) -> None:
    """Start anew, from weights, or where another run stopped; then write the run's `config.yaml`.

    Args:
        output: run folder.
        resume: run or checkpoint folder to go on from; "auto" means `output`, or anew where that holds no checkpoint.
        pretrained: weights to start from, of any source; the report on their keys is logged.
        free: config keys, or groups of them, that a resumed run of this stage may change beside MAY_CHANGE.
        allow_drift: more such keys, of the user's.
        free_cut: whether batch, accumulation and ranks may change while the global batch stays.

    Raises:
        ConfigError: the folder holds a run, and nothing was said about resuming or another run is resumed.
        CheckpointError: the resumed run had another config, or its checkpoints are damaged.
    """
    checkpoints = Path(output) / "checkpoints"
    if resume == "auto" and not distributed.sum_over_ranks([float(bool(list_checkpoints(checkpoints)))])[0]:
        log.LOGGER.info(f"nothing to resume in {output}: beginning anew")
        resume = None
    if resume:
        checkpoint, state = _find(Path(output if resume == "auto" else resume))
        if checkpoint.resolve().parent != checkpoints.resolve() and list_checkpoints(checkpoints):
            raise ConfigError(
                f"{output} holds a run already, and -resume {resume} is of another; {_advice(output, trainer)}"
            )
        _refuse_drift(trainer, state, free, allow_drift, free_cut)
        note_schedule(trainer, state)
        trainer.resume(checkpoint, state)
        log.LOGGER.info(f"resumed from {checkpoint} at step {trainer.step}")
        if changed := environment.changes(state.get("versions", {})):
            log.LOGGER.warning(f"computed otherwise than before ({'; '.join(changed)}): results differ by rounding")
    elif list_checkpoints(checkpoints):
        raise ConfigError(f"{output} holds a run already; {_advice(output, trainer)}")
    elif pretrained:
        for line in load_pretrained(trainer.model, pretrained).lines():
            log.LOGGER.info(line)
        if trainer.ema:
            trainer.ema.load(model_arrays(trainer.model))  # the average starts from these
    if trainer.folder:
        with refuse_unwritable(trainer.folder.config, "free some space, or choose another with -output"):
            write_atomic(trainer.folder.config, yaml.safe_dump(trainer.config, sort_keys=False).encode())


def _advice(output: str, trainer: Trainer) -> str:
    """Say what to do about an output folder that holds a run; one of another stage cannot go on."""
    if stage := other_stage(output, trainer.config):
        return f"it is of another stage ({stage}): choose another -output"
    return f"go on with it (-resume {output}), or choose another -output"


def find_checkpoint(output: str | None, resume: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint that would be resumed, with its state; None where `auto` finds none."""
    source = Path(output or "") if resume == "auto" else Path(resume)
    return None if resume == "auto" and not list_checkpoints(source / "checkpoints") else _find(source)


def _find(source: Path) -> tuple[Path, dict[str, Any]]:
    if (source / "state.json").exists():
        return source, read_state(source, RESUMED)
    return newest_checkpoint(source / "checkpoints", log.LOGGER.warning, RESUMED)


def _refuse_drift(
    trainer: Trainer, state: dict[str, Any], free: Sequence[str], allow_drift: Sequence[str], free_cut: bool
) -> None:
    before = in_present_keys(state["config"], trainer.config)
    saved = flatten(before)
    saved_batch = state["world_size"]
    for key in BATCH_KEYS:
        if type(saved.get(key)) is not int:
            raise CheckpointError(f"the resumed run's config has no usable {key}: it is of another program")
        saved_batch *= saved[key]
    now_batch = trainer.plan.global_batch
    cut = BATCH_KEYS if free_cut and saved_batch == now_batch else ()  # the same steps, cut up otherwise
    drift = drifted_keys(before, trainer.config, (*MAY_CHANGE, *free, *allow_drift, *cut))
    if saved_batch != now_batch and BATCH_KEYS[0] not in allow_drift:
        drift[f"{BATCH_KEYS[0]} (global batch)"] = (saved_batch, now_batch)
    if TRAIN_LIST not in allow_drift:
        drift |= _data_drift(state.get("data") or {}, trainer.data)
    if drift:
        keys = dict.fromkeys(key.split(" ")[0] for key in drift)
        listed = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in drift.items())
        raise CheckpointError(
            f"the resumed run had another config: {listed}. Leave it as it was, or add {drift_flags(keys)}"
        )


def _data_drift(saved: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare the images of training, where both sides know them: older checkpoints do not."""
    old, new = saved.get("train"), now.get("train")
    if not old or not new or old == new:
        return {}
    if old["images"] != new["images"]:
        return {f"{TRAIN_LIST} (images)": (old["images"], new["images"])}
    return {f"{TRAIN_LIST} (SHA-256 of names, order and labels)": (old["sha256"][:12], new["sha256"][:12])}


def log_run(trainer: Trainer, name: str, images: int, notes: Iterable[str] = ()) -> None:
    """Log the model's size, the data, what there is to say of it, and the steps."""
    log.say(notes)
    plan, world = trainer.plan, distributed.world_size()
    parameters = sum(int(p.size) for p in trainer.model.parameters())
    log.LOGGER.info(
        f"{name}: {parameters:,} parameters; {images:,} images, {plan.steps_per_epoch} steps per epoch,"
        f" {plan.total_steps // plan.steps_per_epoch} epochs; batch {plan.batch_size} x {world} ranks"
        f" x {plan.accum_iter} = {plan.global_batch}"
    )


def fit(trainer: Trainer, batches: Iterable[Batch], output: str) -> None:
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
