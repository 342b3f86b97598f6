"""What every stage reads from its config alike: arguments for the loop, the encoder and the data path.

These functions alone in this package look into a stage's config; all else takes plain arguments.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypedDict

from mae_core.models import pixel_statistics
from mae_core.process import distributed, log, runtime
from mae_core.stage.config.node import Config, to_dict
from mae_core.stage.input_settings import input_settings
from mae_core.training.plan import Plan
from mae_core.training.precision import Precision
from mae_core.training.schedule import scaled_lr, warmup_cosine

if TYPE_CHECKING:
    from mae_core.models.options import EncoderOptions

Size = int | tuple[int, int]
SLACK = 15.0  # seconds that ranks wait for another's data after its loader would have given up


def plan_of(config: Config, steps_per_epoch: int) -> Plan:
    """Read how long a stage trains and how often it reports and saves."""
    t = config.TRAIN
    return Plan(
        steps_per_epoch=steps_per_epoch,
        total_steps=t.NUM_EPOCHS * steps_per_epoch,
        batch_size=config.DATA.BATCH_SIZE,
        accum_iter=t.ACCUM_ITER,
        clip_grad=t.GRAD_CLIP,
        seed=config.SEED,
        report_freq=config.REPORT_FREQ,
        save_freq=config.SAVE_FREQ * steps_per_epoch,
        keep=config.SAVE_KEEP,
    )


def schedule_of(config: Config, plan: Plan) -> Callable[[float], float]:
    """Read a stage's learning rate as a function of the fractional epoch."""
    t = config.TRAIN
    return partial(
        warmup_cosine,
        lr=scaled_lr(t.BASE_LR, plan.global_batch, t.LINEAR_SCALED_LR),
        min_lr=t.END_LR,
        warmup_epochs=t.WARMUP_EPOCHS,
        epochs=t.NUM_EPOCHS,
        warmup_start_lr=t.WARMUP_START_LR,
    )


class TrainingImages(Protocol):
    """What a run records and says of its images."""

    def fingerprint(self) -> Mapping[str, object]:
        """Return the number of images and a hash of what they are."""
        ...

    def describe_batch(self, indices: Iterable[int]) -> str:
        """Name images of a batch by their places in the list."""
        ...


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


def encoder_of(config: Config, drop_path_rate: float = 0.0) -> "EncoderOptions":
    """Read the arguments of `ViTEncoder`."""
    m, d = config.MODEL, config.DATA
    mean, std = statistics_of(config)
    return {
        "img_size": _image_size(config),
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


class Reading(TypedDict):
    """How image files become pixels."""

    channels: int
    value_range: float | Sequence[float]
    bands: Sequence[int | str] | None
    exif: bool
    nodata: float | str | None
    mean: Sequence[float]


class Input(Reading):
    """How images become a model's input in evaluation."""

    size: Size
    crop_pct: float | None


def _image_size(config: Config) -> Size:
    size = config.DATA.IMAGE_SIZE
    return size if isinstance(size, int) else (size[0], size[1])


def input_of(config: Config) -> Input:
    """Read how images become a model's input in evaluation, whoever asks."""
    return {"size": _image_size(config), "crop_pct": config.DATA.CROP_PCT, **reading_of(config)}


def reading_of(config: Config) -> Reading:
    """Read how image files become pixels, whoever reads them."""
    d = config.DATA
    return {
        "channels": d.IMAGE_CHANNELS,
        "value_range": d.VALUE_RANGE,
        "bands": d.BANDS,
        "exif": d.EXIF,
        "nodata": d.NODATA,
        "mean": statistics_of(config)[0],
    }


class Images(Reading):
    """The arguments of a dataset over a list file, but for list and transform."""

    root: str
    allow_outside: bool
    opt_in: str
    seed: int
    decoder: str
    labels: str
    num_classes: int | None
    on_error: str
    max_skipped: int
    advice: str


def images_of(config: Config, labels: str = "required", *, training: bool = False, dropping: bool = False) -> Images:
    """Read the arguments of a dataset over a list file, but for list and transform.

    Args:
        labels: "required" (then checked against MODEL.NUM_CLASSES) or "optional".
        training: whether DATA.ON_ERROR holds: in the place of a skipped image, evaluation would count another twice.
        dropping: whether it holds, and who asks leaves out what has an index below 0.
    """
    skips = config.DATA.ON_ERROR == "skip"
    find = "`mae-data verify` finds all such images"
    return {
        "root": config.DATA.DATA_PATH,
        "allow_outside": config.DATA.ALLOW_OUTSIDE,
        "opt_in": "DATA.ALLOW_OUTSIDE True",
        "seed": config.SEED,
        **reading_of(config),
        "decoder": config.DATA.DECODER,
        "labels": labels,
        "num_classes": config.MODEL.NUM_CLASSES if labels == "required" else None,
        "on_error": "drop" if dropping and skips else "skip" if training and skips else "raise",
        "max_skipped": config.DATA.MAX_BAD,
        "advice": f"{find}, DATA.ON_ERROR skip passes over them"
        if training or dropping
        else f"evaluation never skips: mend the image, or take it off the list; {find}",
    }


class Cropping(TypedDict):
    """The arguments that the training transforms of all stages share."""

    image_size: Size
    scale: tuple[float, float]
    hflip: float
    vflip: float
    rotate90: bool


def cropping_of(config: Config) -> Cropping:
    """Read the arguments that the training transforms of all stages share."""
    d = config.DATA
    return {
        "image_size": _image_size(config),
        "scale": (d.CROP_SCALE[0], d.CROP_SCALE[1]),
        "hflip": d.HFLIP,
        "vflip": d.VFLIP,
        "rotate90": d.ROTATE90,
    }


class Loading(TypedDict):
    """The arguments of a loader, but for dataset, sampler and what asks it to stop."""

    num_workers: int
    timeout: float
    advice: str


def loading_of(config: Config) -> Loading:
    """Read the arguments of a loader, but for dataset, sampler and what asks it to stop."""
    return {
        "num_workers": config.DATA.NUM_WORKERS,
        "timeout": config.DATA.TIMEOUT,
        "advice": "check the storage that holds the images, or raise DATA.TIMEOUT",
    }


def data_advice_of(config: Config) -> str:
    """Say which settings speed the data path up, given those of the run and the cores there are."""
    workers, cores = config.DATA.NUM_WORKERS, runtime.available_cores()
    ways = []
    if workers < cores:
        ways.append(f"raise DATA.NUM_WORKERS (now {workers}, for {cores} cores)")
    if config.DATA.DECODER == "exact":
        ways.append("set DATA.DECODER fast for large photographs")
    ways.append(f"`mae-data bench {config.DATA.DATA_PATH}` shows what takes the time")
    return "; ".join(ways)


class GlobalBatch(TypedDict):
    """What a global batch is made of: images per rank and forward pass, passes per step, ranks."""

    batch_size: int
    accum_iter: int
    world_size: int


class TrainSampling(GlobalBatch):
    """The arguments of a sampler of training batches, but for the number of images and the steps."""

    rank: int
    seed: int
    repeats: int


class EvalSampling(TypedDict):
    """The arguments of a sampler that covers a list once, but for the number of images."""

    batch_size: int
    rank: int
    world_size: int


def global_batch_of(config: Config) -> GlobalBatch:
    """Read what a global batch is made of: images per rank and forward pass, passes per step, ranks."""
    return {
        "batch_size": config.DATA.BATCH_SIZE,
        "accum_iter": config.TRAIN.ACCUM_ITER,
        "world_size": distributed.world_size(),
    }


def train_sampling_of(config: Config, repeats: int = 1) -> TrainSampling:
    """Read the arguments of a sampler of training batches.

    Args:
        repeats: samples of one image in a row.
    """
    return {**global_batch_of(config), "rank": distributed.rank(), "seed": config.SEED, "repeats": repeats}


def eval_sampling_of(config: Config) -> EvalSampling:
    """Read the arguments of a sampler that covers a list once, but for the number of images."""
    batch_size = int(config.DATA.get("BATCH_SIZE_EVAL") or config.DATA.BATCH_SIZE)
    return {"batch_size": batch_size, "rank": distributed.rank(), "world_size": distributed.world_size()}
