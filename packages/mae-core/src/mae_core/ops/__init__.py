"""Masking and loss: `random_masking`, `masked_pixel_loss`, and what they are made of."""

from mae_core.ops.masked_pixel_loss import masked_pixel_loss
from mae_core.ops.masking import STRATEGIES
from mae_core.ops.patches import Pixels
from mae_core.ops.philox import masking_noise
from mae_core.ops.random_masking import MaskKey, draw_masking, random_masking
from mae_core.ops.reference import Masking, patch_targets, take_rows
from mae_core.process import quiet_paddle  # noqa: F401 - first

__all__ = [
    "STRATEGIES",
    "MaskKey",
    "Masking",
    "Pixels",
    "draw_masking",
    "masked_pixel_loss",
    "masking_noise",
    "patch_targets",
    "random_masking",
    "take_rows",
]
