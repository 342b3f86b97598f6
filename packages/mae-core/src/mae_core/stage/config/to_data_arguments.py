"""What every stage reads from its config alike: named, typed arguments for the data path; see `to_arguments`."""

from collections.abc import Sequence
from typing import TypedDict

from mae_core.models import pixel_statistics
from mae_core.process import distributed
from mae_core.stage.config.node import Config

Size = int | tuple[int, int]


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


class Cropping(TypedDict):
    """The arguments that the training transforms of all stages share."""

    image_size: Size
    scale: tuple[float, float]
    hflip: float
    vflip: float
    rotate90: bool


class Loading(TypedDict):
    """The arguments of a loader, but for dataset, sampler and stop request."""

    num_workers: int
    timeout: float
    advice: str


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


def image_size_of(config: Config) -> Size:
    """Read one side, or height and width, in pixels."""
    size = config.DATA.IMAGE_SIZE
    return size if isinstance(size, int) else (size[0], size[1])


def input_of(config: Config) -> Input:
    """Read how images become a model's input in evaluation."""
    return {"size": image_size_of(config), "crop_pct": config.DATA.CROP_PCT, **reading_of(config)}


def reading_of(config: Config) -> Reading:
    """Read how image files become pixels."""
    d = config.DATA
    mean, _ = pixel_statistics(d.IMAGE_CHANNELS, d.IMAGENET_MEAN, d.IMAGENET_STD)
    return {
        "channels": d.IMAGE_CHANNELS,
        "value_range": d.VALUE_RANGE,
        "bands": d.BANDS,
        "exif": d.EXIF,
        "nodata": d.NODATA,
        "mean": mean,
    }


def images_of(config: Config, labels: str = "required", *, training: bool = False, dropping: bool = False) -> Images:
    """Read the arguments of a dataset over a list file, but for list and transform.

    Args:
        labels: "required" (then checked against MODEL.NUM_CLASSES) or "optional".
        training: whether DATA.ON_ERROR holds: in the place of a skipped image, evaluation would count another twice.
        dropping: whether it holds, and the caller leaves out what has an index below 0.
    """
    skips = config.DATA.ON_ERROR == "skip"
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
        "advice": "DATA.ON_ERROR skip passes over them"
        if training or dropping
        else "evaluation never skips: mend them, or take them off the list (--write-lists does, of lists of one class)",
    }


def cropping_of(config: Config) -> Cropping:
    """Read the arguments that the training transforms of all stages share."""
    d = config.DATA
    return {
        "image_size": image_size_of(config),
        "scale": (d.CROP_SCALE[0], d.CROP_SCALE[1]),
        "hflip": d.HFLIP,
        "vflip": d.VFLIP,
        "rotate90": d.ROTATE90,
    }


def loading_of(config: Config) -> Loading:
    """Read the arguments of a loader, but for dataset, sampler and stop request."""
    return {
        "num_workers": config.DATA.NUM_WORKERS,
        "timeout": config.DATA.TIMEOUT,
        "advice": "check the storage that holds the images, or raise DATA.TIMEOUT",
    }


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
