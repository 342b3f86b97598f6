"""What a resumed run may change of its config, and how its schedule goes on where its length changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from mae_core.errors import CheckpointError, ConfigError
from mae_core.process import log
from mae_core.stage.config.from_run import in_present_keys
from mae_core.stage.config.from_weights import drift_flags
from mae_core.stage.config.node import Config, flatten
from mae_core.stage.config.to_arguments import schedule_of
from mae_core.training.engine import Trainer
from mae_core.weights.checkpoint_state import State

EPOCHS = "TRAIN.NUM_EPOCHS"
BATCH_KEYS = ("DATA.BATCH_SIZE", "TRAIN.ACCUM_ITER")  # with the number of ranks: how a global batch is cut up
ANNEAL, DECAY = "TRAIN.ANNEAL", "TRAIN.DECAY"
TRAIN_LIST = "DATA.TRAIN_LIST"
TEACHER = "MODEL.TEACHER"
# What a resumed run of any stage may change: where things are and how it is watched, not what is computed.
MAY_CHANGE = (
    *(EPOCHS, "SAVE", "SAVE_FREQ", "SAVE_KEEP", "REPORT_FREQ", "LOGGERS", "VALIDATE_FREQ", "EVAL"),
    *("MODEL.RESUME", "MODEL.PRETRAINED", "MODEL.CHANNELS_FROM", "MODEL.NAME", "MODEL.GRAD_CHECKPOINTING"),
    *("TRAIN.SHARD_OPTIMIZER", DECAY),
    *("DATA.DATA_PATH", "DATA.ALLOW_OUTSIDE", "DATA.NUM_WORKERS", "DATA.TIMEOUT", "DATA.BATCH_SIZE_EVAL"),
    "DATA.MAX_BAD",
)


def refuse_drift(
    trainer: Trainer, state: State, free: Sequence[str], allow_drift: Sequence[str], free_cut: bool
) -> None:
    """Refuse to resume with another config, or on other images.

    Args:
        free, allow_drift: keys, or groups of them, that may differ beside MAY_CHANGE: the stage's and the user's.
        free_cut: whether batch, accumulation and ranks may change while the global batch stays.

    Raises:
        CheckpointError: something else differs; it names each key, what it was and what it is.
    """
    before = in_present_keys(state.config, trainer.config)
    saved = flatten(before)
    saved_batch = state.world_size
    for key in BATCH_KEYS:
        if not isinstance(value := saved.get(key), int):
            raise CheckpointError(f"the resumed run's config has no usable {key}: it is of another program")
        saved_batch *= value
    now_batch = trainer.plan.global_batch
    cut = BATCH_KEYS if free_cut and saved_batch == now_batch else ()  # the same steps, cut up otherwise
    anneal = (ANNEAL,) if _anneals(trainer, state) else ()
    drift = drifted_keys(before, trainer.config, (*MAY_CHANGE, *free, *allow_drift, *cut, *anneal))
    if saved_batch != now_batch and BATCH_KEYS[0] not in allow_drift:
        drift[f"{BATCH_KEYS[0]} (global batch)"] = (saved_batch, now_batch)
    if TRAIN_LIST not in allow_drift:
        drift |= _data_drift(state.data, trainer.data)
    old, new = (data.get("teacher", {}).get("sha256", "") for data in (state.data, trainer.data))
    if old != new and TEACHER not in allow_drift:
        drift[f"{TEACHER} (SHA-256 of its weights)"] = old[:12], new[:12]
    if drift:
        keys = dict.fromkeys(key.split(" ")[0] for key in drift)
        listed = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in drift.items())
        raise CheckpointError(
            f"the resumed run had another config: {listed}. Leave it as it was, or add {drift_flags(keys)}"
        )


def drifted_keys(
    saved: Mapping[str, object], now: Mapping[str, object], free: Sequence[str]
) -> dict[str, tuple[object, object]]:
    """List keys whose value differs between two configs; `free` names keys or groups that may."""
    old, new = flatten(saved), flatten(now)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(key == f or key.startswith(f"{f}.") for f in free)
    }


def _data_drift(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare the images of training, where both sides know them: older checkpoints do not."""
    old, new = saved.get("train"), now.get("train")
    if not old or not new or old == new:
        return {}
    if old["images"] != new["images"]:
        return {f"{TRAIN_LIST} (images)": (old["images"], new["images"])}
    return {f"{TRAIN_LIST} (SHA-256 of names, order and labels)": (old["sha256"][:12], new["sha256"][:12])}


def _anneals(trainer: Trainer, state: State) -> bool:
    """Return whether the learning rate begins to fall at the resumed checkpoint."""
    return flatten(trainer.config).get(ANNEAL, 0) == state.step > 0


def note_schedule(trainer: Trainer, state: State) -> None:
    """Log how the learning rate goes on where it falls otherwise than in the resumed run.

    Raises:
        ConfigError: the run is past its new end, or the checkpoint is none to anneal.
    """
    old, new = flatten(dict(state.config)), flatten(trainer.config)
    changes = [f"{key} was {old[key]}, is {new[key]}" for key in (EPOCHS, DECAY) if key in old and old[key] != new[key]]
    annealed = _anneals(trainer, state)
    if not (changes or annealed) or EPOCHS not in old:
        return
    epoch, saved = state.step / trainer.plan.steps_per_epoch, Config(dict(state.config))
    if state.step > trainer.plan.total_steps:
        raise ConfigError(
            f"{EPOCHS}={new[EPOCHS]} is behind the resumed checkpoint, which is of epoch {epoch:g}; use more"
        )
    rate, next_rate = schedule_of(saved, trainer.plan)(epoch), trainer.lr_at(epoch)
    if annealed:
        _require_peak(saved, epoch, rate, next_rate)
        log.LOGGER.info(
            f"annealing from step {state.step}: the learning rate falls from {next_rate:.2e} until step"
            f" {trainer.plan.total_steps}, the end"
        )
        return
    log.LOGGER.info(
        f"{'; '.join(changes)}: the learning rate now falls until epoch {new[EPOCHS]}; at epoch {epoch:g}, where this"
        f" run goes on, it steps from {rate:.2e} to {next_rate:.2e}"
    )


def _require_peak(saved: Config, epoch: float, old: float, peak: float) -> None:
    """Refuse to anneal what is not at the peak of its learning rate."""
    if epoch < saved.TRAIN.WARMUP_EPOCHS or old < peak * (1 - 1e-6):
        raise ConfigError(
            f"the checkpoint of epoch {epoch:g} is at a learning rate of {old:.2e}, not at the peak of {peak:.2e} that"
            " --anneal falls from: choose one between warm-up and fall, -resume RUN/checkpoints/step_NUMBER (a run of"
            " TRAIN.DECAY 0 does not fall; SAVE_KEEP says how many it keeps)"
        )
