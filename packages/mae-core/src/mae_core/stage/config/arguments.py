"""The named arguments that `to_arguments` reads from a config, typed, so that mypy checks each call that takes them.

They are unpacked where they are used (`make_loader(..., **loading_of(config))`): the packages that take them know
neither the config nor one another.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypedDict

from mae_core.stage.input_settings import InputSettings
from mae_core.training.plan import Plan

Size = int | tuple[int, int]


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
    """The arguments of a loader, but for dataset, sampler and what asks it to stop."""

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
