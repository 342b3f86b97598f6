"""What single keys may be set to, as tables: checked when a config is built, and told by `--help-config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mae_core.stage.config.checks import require_one_of, require_positive, require_within
from mae_core.stage.config.node import Config


@dataclass(frozen=True)
class Limits:
    """Limits by dotted key; those of two tables together are `a | b`.

    Args:
        choices: the values that a key takes.
        positive: keys whose number, or numbers, are above zero.
        ranges: lowest and highest number, both included.
    """

    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    positive: Sequence[str] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __or__(self, other: Limits) -> Limits:
        return Limits(
            {**self.choices, **other.choices}, (*self.positive, *other.positive), {**self.ranges, **other.ranges}
        )

    def require(self, config: Config) -> None:
        """Require all of them.

        Raises:
            ConfigError: a key is set to what it does not take.
        """
        require_one_of(config, self.choices)
        require_positive(config, self.positive)
        require_within(config, self.ranges)


_CHOICES = {
    "DATA.DATASET": ("imagenet2012",),
    "DATA.ON_ERROR": ("raise", "skip"),
    "DATA.DECODER": ("exact", "fast"),
    "MODEL.CHANNELS_FROM": (None, "repeat", "mean", "first"),
    "AMP_DTYPE": ("bfloat16", "float16"),
}
_POSITIVE = (
    *("DATA.BATCH_SIZE", "DATA.IMAGENET_STD", "DATA.CROP_SCALE"),
    *("MODEL.PATCH_SIZE", "MODEL.ENCODER.EMBED_DIM", "MODEL.ENCODER.DEPTH", "MODEL.ENCODER.NUM_HEADS"),
    *("TRAIN.NUM_EPOCHS", "TRAIN.BASE_LR", "TRAIN.ACCUM_ITER"),
    *("SAVE_FREQ", "SAVE_KEEP", "REPORT_FREQ"),
)
_RANGES: dict[str, tuple[float, float]] = {
    "SEED": (0, 2**32 - 1),
    "DATA.NUM_WORKERS": (0, 1024),
    "DATA.IMAGE_CHANNELS": (1, 4096),
    "DATA.TIMEOUT": (0, 10**9),
    "DATA.MAX_BAD": (0, 10**9),
    "DATA.IMAGENET_MEAN": (0, 1),
    "DATA.CROP_SCALE": (0, 1),
    "DATA.HFLIP": (0, 1),
    "DATA.VFLIP": (0, 1),
    "MODEL.MLP_RATIO": (0.25, 1000),  # with widths that are multiples of 4, at least one hidden unit
    "MODEL.DROPPATH": (0, 0.999),
    "TRAIN.WARMUP_EPOCHS": (0, 10**9),
    "TRAIN.WARMUP_START_LR": (0, 10**9),
    "TRAIN.END_LR": (0, 10**9),
    "TRAIN.WEIGHT_DECAY": (0, 1),
}
COMMON = Limits(_CHOICES, _POSITIVE, _RANGES)
ADAM = Limits(positive=("TRAIN.OPTIMIZER.EPS",), ranges={"TRAIN.OPTIMIZER.BETAS": (0, 0.999999)})
CLASSIFIER = Limits(
    {
        "TRAIN.CLASS_WEIGHTS": (None, "balanced"),
        "TRAIN.BEST_BY": ("top1", "balanced_accuracy", "macro_f1", "auroc", "val_loss"),
    },
    positive=("MODEL.NUM_CLASSES",),
    ranges={"VALIDATE_FREQ": (0, 10**9)},
)
