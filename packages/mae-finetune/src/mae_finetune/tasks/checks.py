"""What each task requires of its config; this module does not need Paddle."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mae_core.stage.config.checks import require, require_classifier, require_none_or, require_pair, require_scored
from mae_core.stage.config.node import Config, get_key

MASK_FIGURES = ("miou", "pixel_accuracy", "class_accuracy")
LABEL_FIGURES = ("map", "macro_f1", "micro_f1", "auroc", "val_loss")
NUMBER_FIGURES = ("val_loss", "mae", "rmse", "r2")
_OF_CLASSES = {"ROBUST.CLASS_MAP": None, "ROBUST.CORRUPTIONS": False, "TRAIN.CLASS_WEIGHTS": None}


def require_off(c: Config, off: Mapping[str, object], why: str) -> None:
    """Require keys that a task has no meaning for to be switched off."""
    stated = [key for key, value in off.items() if get_key(c, key) != value]
    words = " ".join(f"{key} {off[key]}" for key in stated)
    require(not stated, f"MODEL.TASK={c.MODEL.TASK} takes no {', '.join(stated)} ({why}); add: {words}")


def require_rows(c: Config, figures: Sequence[str]) -> None:
    """Require what rows of labels or numbers and their validation rely on, whose figures are these."""
    require_scored(c, figures)
    require_off(c, _OF_CLASSES, "it is for one class per image")


def require_unmixed(c: Config) -> None:
    """Require that neither images are mixed nor targets smoothed: both are for classes and labels."""
    mixing = {} if c.TRAIN.MIXUP_ALPHA == c.TRAIN.CUTMIX_ALPHA == 0 else {"TRAIN.MIXUP_PROB": 0.0}
    require_off(c, mixing | {"TRAIN.SMOOTHING": 0.0}, "numbers are neither mixed nor smoothed")


def require_masks(c: Config) -> None:
    """Require what masks, a segmentation head and its validation rely on."""
    require_scored(c, MASK_FIGURES)
    require_off(c, _OF_CLASSES, "it is for one class per image")
    require(c.MODEL.NUM_CLASSES > 1, f"MODEL.NUM_CLASSES={c.MODEL.NUM_CLASSES} leaves nothing to tell apart; use 2")
    require_none_or(c, "MODEL.HEAD_CHANNELS", lambda v: v >= 1 and v == int(v), "a number of channels")
    require_pair(c, "DATA.SCALE_JITTER")
    low, high = c.DATA.SCALE_JITTER
    require(0 < low <= high, f"DATA.SCALE_JITTER={c.DATA.SCALE_JITTER} is not a range above 0, such as [0.5, 2.0]")


def require_masks_alone(c: Config) -> None:
    """Require that nothing is done to images which is not done to masks, nor anything of colours."""
    mixing = {} if c.TRAIN.MIXUP_ALPHA == c.TRAIN.CUTMIX_ALPHA == 0 else {"TRAIN.MIXUP_PROB": 0.0}
    off = {"TRAIN.SMOOTHING": 0.0, "TRAIN.RAND_AUGMENT": False, "TRAIN.RANDOM_ERASE_PROB": 0.0}
    require_off(c, mixing | off, "it would not be done to masks")


def _nothing(c: Config) -> None:
    """Require nothing more."""


# By MODEL.TASK: of all commands, and of training alone.
REQUIRE: dict[str, Callable[[Config], None]] = {
    "classify": require_classifier,
    "multilabel": partial(require_rows, figures=LABEL_FIGURES),
    "regress": partial(require_rows, figures=NUMBER_FIGURES),
    "segment": require_masks,
}
REQUIRE_TRAINING: dict[str, Callable[[Config], None]] = {
    "classify": _nothing,
    "multilabel": _nothing,
    "regress": require_unmixed,
    "segment": require_masks_alone,
}
