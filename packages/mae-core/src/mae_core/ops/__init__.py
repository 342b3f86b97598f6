"""Masking: `random_masking` and what it is made of."""

from mae_core.ops.philox import masking_noise
from mae_core.ops.random_masking import masking_from_mask, random_masking
from mae_core.ops.reference import Masking, masked_pixel_loss, patch_targets, take_rows

__all__ = [
    "Masking",
    "masked_pixel_loss",
    "masking_from_mask",
    "masking_noise",
    "patch_targets",
    "random_masking",
    "take_rows",
]
