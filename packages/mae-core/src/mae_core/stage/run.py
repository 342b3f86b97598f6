"""A run of any stage, around the loop: claim the folder, begin or resume, say what runs and how it went."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mae_core import distributed, log, runtime
from mae_core.config import drifted_keys, flatten
from mae_core.errors import CheckpointError, ConfigError
from mae_core.files import write_atomic
from mae_core.ops import fused
from mae_core.training.checkpoint import model_arrays, sweep
from mae_core.training.engine import Batch, Trainer
from mae_core.training.meters import clock
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import list_checkpoints, newest_checkpoint, read_state
from mae_core.weights.load import load_pretrained

CUT = ("DATA.BATCH_SIZE", "TRAIN.ACCUM_ITER")  # with the number of ranks: how a global batch is cut up
# What a resumed run of any stage may change: where things are and how it is watched, not what is computed.
FREE = (
    *("SAVE", "SAVE_FREQ", "SAVE_KEEP", "REPORT_FREQ", "VALIDATE_FREQ", "EVAL"),
    *("MODEL.RESUME", "MODEL.PRETRAINED", "MODEL.NAME", "MODEL.GRAD_CHECKPOINTING"),
    *("DATA.DATA_PATH", "DATA.NUM_WORKERS", "DATA.BATCH_SIZE_EVAL"),
)


def open_run(output: str) -> RunFolder | None:
    """Join the other ranks, set up the log and claim the output folder; None on ranks that write nothing."""
    distributed.init()
    logger = log.setup(distributed.is_main())
    folder = RunFolder(output) if distributed.is_main() else None
    if folder:
        sweep(folder.checkpoints)
    logger.info(f"runtime: {runtime.choice()}")
    logger.info(f"operators: {fused.describe()}")
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
        free: config keys, or groups of them, that a resumed run of this stage may change beside FREE.
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
                f"{output} holds a run already, and -resume {resume} is of another; go on here with -resume auto,"
                " or choose another -output"
            )
        _refuse_drift(trainer, state, free, allow_drift, free_cut)
        trainer.resume(checkpoint, state)
        log.LOGGER.info(f"resumed from {checkpoint} at step {trainer.step}")
    elif list_checkpoints(checkpoints):
        raise ConfigError(f"{output} holds a run already; go on with -resume auto, or choose another -output")
    elif pretrained:
        for line in load_pretrained(trainer.model, pretrained).lines():
            log.LOGGER.info(line)
        if trainer.ema:
            trainer.ema.load(model_arrays(trainer.model))  # the average starts from these
    if trainer.folder:
        write_atomic(trainer.folder.config, yaml.safe_dump(trainer.config, sort_keys=False).encode())


def _find(source: Path) -> tuple[Path, dict[str, Any]]:
    if (source / "state.json").exists():
        return source, read_state(source)
    return newest_checkpoint(source / "checkpoints", log.LOGGER.warning)


def _refuse_drift(
    trainer: Trainer, state: dict[str, Any], free: Sequence[str], allow_drift: Sequence[str], free_cut: bool
) -> None:
    saved = flatten(state["config"])
    saved_batch = state["world_size"]
    for key in CUT:
        saved_batch *= saved[key]
    now_batch = trainer.plan.global_batch
    cut = CUT if free_cut and saved_batch == now_batch else ()  # the same steps, cut up otherwise
    drift = drifted_keys(state["config"], trainer.config, (*FREE, *free, *allow_drift, *cut))
    if saved_batch != now_batch and CUT[0] not in allow_drift:
        drift[f"{CUT[0]} (global batch)"] = (saved_batch, now_batch)
    if drift:
        listed = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in drift.items())
        raise CheckpointError(f"the resumed run had another config: {listed}. Restore it, or pass --allow-drift KEY")


def describe(trainer: Trainer, name: str, images: int) -> None:
    """Log the model's size, the data and the steps."""
    plan, world = trainer.plan, distributed.world_size()
    parameters = sum(int(p.size) for p in trainer.model.parameters())
    log.LOGGER.info(
        f"{name}: {parameters:,} parameters; {images:,} images, {plan.steps_per_epoch} steps an epoch,"
        f" {plan.total_steps // plan.steps_per_epoch} epochs; batch {plan.batch_size} x {world} ranks"
        f" x {plan.accum_iter} = {plan.global_batch}"
    )


def fit(trainer: Trainer, batches: Iterable[Batch], output: str) -> None:
    """Train to the end of the plan and log how long it took."""
    started, first = time.perf_counter(), trainer.step
    trainer.fit(batches)
    seconds, plan = time.perf_counter() - started, trainer.plan
    images = (plan.total_steps - first) * plan.global_batch
    log.LOGGER.info(
        f"done: {plan.total_steps} steps in {clock(seconds)} ({images / max(seconds, 1e-9):.0f} images/s);"
        f" checkpoints and log in {output}"
    )
