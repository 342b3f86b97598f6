"""What every stage reads from its config alike: named arguments for the loop and the encoder.

These functions alone in this package look into a stage's config; all else takes plain arguments. What they return is
typed, so that mypy checks each call that unpacks it (`make_loader(..., **loading_of(config))`): the packages that take
the arguments know neither the config nor one another.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypedDict

from mae_core.models import pixel_statistics
from mae_core.process import log, runtime
from mae_core.stage.config.node import Config, to_dict
from mae_core.stage.config.to_data_arguments import Size, image_size_of
from mae_core.stage.config.weight_record import InputSettings, input_settings
from mae_core.training.optim import scaled_lr, warmup_cosine, warmup_stable_decay
from mae_core.training.plan import Plan
from mae_core.training.precision import Precision

LEAST_REPORTS = 40  # of a run, so that its curves have a shape
SLACK = 15.0  # seconds that ranks wait for another's data after its loader would have given up


class TrainerArguments(TypedDict):
    """The arguments of `Trainer` that all stages give alike."""

    lr_at: Callable[[float], float]
    plan: Plan
    config: dict[str, object]
    data: dict[str, object]
    describe: Callable[[Iterable[int]], str]
    data_advice: str
    data_patience: float
    shard_optimizer: bool


class Encoder(InputSettings, total=True):
    """The arguments of `ViTEncoder`; of those on how images are read, what is not the usual."""

    img_size: Size
    patch_size: int
    in_chans: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    qkv_bias: bool
    drop_path_rate: float
    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    value_range: float | Sequence[float]


def plan_of(config: Config, steps_per_epoch: int) -> Plan:
    """Read how long a stage trains and how often it reports and saves."""
    t = config.TRAIN
    total = steps_of(t, steps_per_epoch)
    return Plan(
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        batch_size=config.DATA.BATCH_SIZE,
        accum_iter=t.ACCUM_ITER,
        clip_grad=t.GRAD_CLIP,
        seed=config.SEED,
        report_freq=min(config.REPORT_FREQ, max(1, total // LEAST_REPORTS)),
        save_freq=config.SAVE_FREQ * steps_per_epoch,
        keep=config.SAVE_KEEP,
    )


def steps_of(train: Config, steps_per_epoch: int) -> int:
    """Read the steps of a run from the config's TRAIN; one that ends another is as long as TRAIN.DECAY has it."""
    if begun := train.get("ANNEAL", 0):
        return max(begun + 1, round(begun / (1 - train.DECAY)))
    return max(1, round(train.NUM_EPOCHS * steps_per_epoch))


def schedule_of(config: Config, plan: Plan) -> Callable[[float], float]:
    """Read a stage's learning rate as a function of the fractional epoch."""
    t, per_epoch = config.TRAIN, plan.steps_per_epoch
    common = {
        "lr": scaled_lr(t.BASE_LR, plan.global_batch, t.LINEAR_SCALED_LR),
        "min_lr": t.END_LR,
        "warmup_epochs": t.WARMUP_EPOCHS,
        "epochs": steps_of(t, per_epoch) / per_epoch,
        "warmup_start_lr": t.WARMUP_START_LR,
    }
    if t.get("SCHEDULE", "cosine") == "cosine":
        return partial(warmup_cosine, **common)
    falls_from = t.ANNEAL / per_epoch if t.ANNEAL else common["epochs"] * (1 - t.DECAY)
    return partial(warmup_stable_decay, falls_from=falls_from, **common)


class TrainingImages(Protocol):
    """What a run records of its images, and what it calls them."""

    def fingerprint(self) -> Mapping[str, object]:
        """Return the number of images and a hash of what they are."""
        ...

    def describe_batch(self, indices: Iterable[int]) -> str:
        """Name images of a batch by their places in the list."""
        ...


def trainer_of(config: Config, plan: Plan, images: TrainingImages) -> TrainerArguments:
    """Read the arguments of `Trainer` that all stages give alike."""
    return {
        "lr_at": schedule_of(config, plan),
        "plan": plan,
        "config": to_dict(config),
        "data": {"train": images.fingerprint()},
        "describe": images.describe_batch,
        "data_advice": data_advice_of(config),
        # A loader with workers gives up by itself, and names what it waits for.
        "data_patience": config.DATA.TIMEOUT + SLACK if config.DATA.TIMEOUT else math.inf,
        "shard_optimizer": config.TRAIN.get("SHARD_OPTIMIZER", False),
    }


def precision_of(config: Config) -> Precision:
    """Read in what precision a stage computes, and log it."""
    return Precision(config.AMP, config.AMP_DTYPE, log.LOGGER.info)


def statistics_of(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read mean and deviation per channel that images are normalised with."""
    d = config.DATA
    return pixel_statistics(d.IMAGE_CHANNELS, d.IMAGENET_MEAN, d.IMAGENET_STD)


def encoder_of(config: Config, drop_path_rate: float = 0.0) -> Encoder:
    """Read the arguments of `ViTEncoder`."""
    m, d = config.MODEL, config.DATA
    mean, std = statistics_of(config)
    return {
        "img_size": image_size_of(config),
        "patch_size": m.PATCH_SIZE,
        "in_chans": d.IMAGE_CHANNELS,
        "embed_dim": m.ENCODER.EMBED_DIM,
        "depth": m.ENCODER.DEPTH,
        "num_heads": m.ENCODER.NUM_HEADS,
        "mlp_ratio": m.MLP_RATIO,
        "qkv_bias": m.QKV_BIAS,
        "drop_path_rate": drop_path_rate,
        "pixel_mean": mean,
        "pixel_std": std,
        "value_range": d.VALUE_RANGE,
        **input_settings(to_dict(config)),
    }


def data_advice_of(config: Config) -> str:
    """Describe which settings speed the data path up, given those of the run and the cores there are."""
    workers, cores = config.DATA.NUM_WORKERS, runtime.available_cores()
    ways = []
    if workers < cores:
        ways.append(f"raise DATA.NUM_WORKERS (now {workers}, for {cores} cores)")
    if config.DATA.DECODER == "exact":
        ways.append("set DATA.DECODER fast for large photographs")
    ways.append(f"`mae-data bench {config.DATA.DATA_PATH}` shows what takes the time")
    return "; ".join(ways)
