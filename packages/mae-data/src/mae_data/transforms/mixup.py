"""Mixup (arXiv 1710.09412) and CutMix (1905.04899): what to mix is drawn here, apart from mixing.

Image i is mixed with image N - 1 - i, as in timm: in mode "batch" all with one draw, in "elem" each with
its own, in "pair" the two of a pair with the same. Mixing itself runs on the device: `mixed_batch.py`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mae_data.rng import MIXING_STREAM, Floats, philox, symmetric_beta
from mae_data.transforms.crops import Size

MODES = ("batch", "elem", "pair")


@dataclass(frozen=True)
class Mixup:
    """How to draw mixtures.

    Args:
        mixup_alpha: mixup's weight is Beta(alpha, alpha) distributed; 0 means no mixup.
        cutmix_alpha: the same for CutMix, before the box is clipped; 0 means no CutMix.
        prob: probability that a batch (mode "batch"), image or pair is mixed at all.
        switch_prob: probability of CutMix where both are on.
        mode: "batch", "elem" or "pair".
    """

    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: str = "batch"

    def __post_init__(self) -> None:
        if self.mixup_alpha < 0 or self.cutmix_alpha < 0:
            raise ValueError(f"mixup={self.mixup_alpha}, cutmix={self.cutmix_alpha}; give 0 (off) or a positive alpha")
        if not (0 <= self.prob <= 1 and 0 <= self.switch_prob <= 1):
            raise ValueError(f"prob={self.prob}, switch_prob={self.switch_prob}; give probabilities between 0 and 1")
        if self.mode not in MODES:
            raise ValueError(f"mode={self.mode!r}; use one of {', '.join(MODES)}")

    @property
    def enabled(self) -> bool:
        """Whether anything is ever mixed."""
        return self.prob > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)


@dataclass(frozen=True)
class Mixture:
    """One draw for a batch of N images; K is 1 in mode "batch", else N.

    Outside its box an image keeps the share `weight` of itself and gets 1 - weight of its partner; inside,
    all of it comes from the partner. Mixup has an empty box, CutMix the weight 1.

    Attributes:
        weight: float32 [K].
        boxes: int64 [K, 4], (top, left, bottom, right), the ends not included.
        lam: float32 [K], the share of the image itself over all its pixels, for the targets.
    """

    weight: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.int64]
    lam: npt.NDArray[np.float32]


def mixing_rng(seed: int, epoch: int, first_index: int) -> np.random.Generator:
    """Make the generator that draws the mixture of one batch, whatever was drawn before.

    No two batches of an epoch, on whatever rank, begin with the same sample.

    Args:
        seed: seed of the run, 0 to 2**64 - 1.
        epoch: epoch number, from 0.
        first_index: position of the batch's first sample in its list.
    """
    return np.random.Generator(philox(seed, MIXING_STREAM, epoch, first_index))


def draw_mixture(mixup: Mixup, batch_size: int, image_size: Size, rng: np.random.Generator) -> Mixture:
    """Draw what to mix in a batch.

    Args:
        mixup: how to draw.
        batch_size: number of images N; even, as each has a partner.
        image_size: (height, width).
        rng: source of randomness; see `mixing_rng`.

    Raises:
        ValueError: the batch size is odd.
    """
    if batch_size % 2:
        raise ValueError(
            f"a batch of {batch_size} images cannot be mixed: each needs a partner; use an even batch size"
        )
    count = {"batch": 1, "elem": batch_size, "pair": batch_size // 2}[mixup.mode]
    applied, switch, u, v, row, column = rng.random((6, count))
    if not mixup.enabled:
        return Mixture(np.ones(1, np.float32), np.zeros((1, 4), np.int64), np.ones(1, np.float32))
    switch_prob = mixup.switch_prob if mixup.mixup_alpha and mixup.cutmix_alpha else float(mixup.cutmix_alpha > 0)
    cut = switch < switch_prob
    lam = symmetric_beta(u, v, np.where(cut, mixup.cutmix_alpha or 1.0, mixup.mixup_alpha or 1.0))
    lam = np.where(applied < mixup.prob, lam, 1.0)
    boxes = np.where(cut[:, None], cutmix_boxes(lam, image_size, row, column), 0)
    weight = np.where(cut, 1.0, lam)
    lam = np.where(cut, kept_share(boxes, image_size), lam)
    if mixup.mode == "pair":  # the second half holds the partners of the first, in reverse order
        weight, boxes, lam = (np.concatenate([values, values[::-1]]) for values in (weight, boxes, lam))
    return Mixture(weight.astype(np.float32), boxes, lam.astype(np.float32))


def cutmix_boxes(lam: Floats, image_size: Size, row: Floats, column: Floats) -> npt.NDArray[np.int64]:
    """Place boxes of the area 1 - lam and the image's shape around uniform centres, clipped to the image.

    A side of odd length keeps it, as in timm 1.0; the official code's timm 0.3.2 cut a pixel less.

    Args:
        lam: [K], the share to keep.
        image_size: (height, width).
        row, column: [K], place of the centre, uniform in [0, 1).

    Returns:
        int64 [K, 4], (top, left, bottom, right).
    """
    height, width = image_size
    ratio = np.sqrt(1 - lam)
    top, bottom = _span(height, ratio, row)
    left, right = _span(width, ratio, column)
    return np.stack([top, left, bottom, right], axis=1)


def _span(side: int, ratio: Floats, centre: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    cut = (side * ratio).astype(np.int64)
    middle = (side * centre).astype(np.int64)
    return (middle - cut // 2).clip(0, side), (middle + (cut + 1) // 2).clip(0, side)


def kept_share(boxes: npt.NDArray[np.int64], image_size: Size) -> Floats:
    """Return the share of the pixels outside each box: [K]."""
    top, left, bottom, right = boxes.T
    return 1 - (bottom - top) * (right - left) / (image_size[0] * image_size[1])
