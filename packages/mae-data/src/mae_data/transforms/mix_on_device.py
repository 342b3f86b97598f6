"""Mixing a batch on its device: images normalised and mixed, labels made soft targets."""

# Paddle 2.6 brings its own zlib; loaded after it, Python's would crash at its first use.
import zlib  # noqa: F401
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F

from mae_data.images.value_range import as_value_range
from mae_data.transforms.mixup import Mixture


def normalize_images(
    images: "paddle.Tensor",
    mean: Sequence[float],
    std: Sequence[float],
    value_range: float | Sequence[float] = 255,
) -> "paddle.Tensor":
    """Normalise images as the loader gives them to float32 [N, C, H, W], as the model does by itself.

    Args:
        images: [N, H, W, C], uint8, int16 (the bits of uint16) or float32.
        mean, std: statistics per channel, in [0, 1].
        value_range: of the pixels: the white of integers, or [low, high] of floats.
    """
    limits = as_value_range(value_range)
    unit, low = np.asarray(std, np.float64), limits.low / limits.span
    scale = 1 / (limits.span * unit)
    shift = -(np.asarray(mean, np.float64) + low) / unit
    scale, shift = (paddle.to_tensor(values.astype(np.float32).reshape(1, -1, 1, 1)) for values in (scale, shift))
    if images.dtype == paddle.int16:
        images = images.astype("float32")
        images = images + 65536.0 * (images < 0).astype("float32")
    return images.transpose([0, 3, 1, 2]).astype("float32") * scale + shift


def mix_images(images: "paddle.Tensor", mixture: Mixture, *, channels_last: bool = False) -> "paddle.Tensor":
    """Mix each image of a batch with its partner, image N - 1 - i.

    Args:
        images: float [N, C, H, W]. Mixing commutes with normalising, but not with rounding to integers.
        mixture: what to mix; see `mae_data.transforms.mixup.draw_mixture`.
        channels_last: images are [N, H, W, C].
    """
    own = paddle.to_tensor(mixture.weight.reshape(-1, 1, 1, 1))  # [K, 1, 1, 1]
    if mixture.boxes.any():
        height, width = images.shape[1:3] if channels_last else images.shape[2:4]
        outside = _outside(mixture.boxes, height, width)  # [K, 1, H, W]
        own = own * (outside.transpose([0, 2, 3, 1]) if channels_last else outside)
    return images * own + images.flip(0) * (1 - own)


def _outside(boxes: np.ndarray, height: int, width: int) -> "paddle.Tensor":
    """Return float32 [K, 1, H, W]: 0 inside the boxes, else 1."""
    top, left, bottom, right = paddle.to_tensor(boxes.T.reshape(4, -1, 1, 1, 1))
    rows = paddle.arange(height).reshape([1, 1, -1, 1])
    columns = paddle.arange(width).reshape([1, 1, 1, -1])
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return 1 - inside.astype("float32")


def soft_targets(
    labels: "paddle.Tensor", num_classes: int, *, smoothing: float = 0.0, mixture: Mixture | None = None
) -> "paddle.Tensor":
    """Turn labels into targets float32 [N, num_classes], smoothed and mixed.

    Args:
        labels: int64 [N], each below `num_classes`; or rows of several labels, float32 [N, num_classes] of 0 and 1.
        num_classes: number of classes.
        smoothing: share s of the target spread evenly over what could be: of classes 1 - s + s / C on, s / C off; of
            a label, which is there or not, 1 - s / 2 and s / 2.
        mixture: what the images were mixed by; None for unmixed images.
    """
    if labels.ndim == 2:
        targets = labels * (1 - smoothing) + smoothing / 2
    else:
        targets = F.one_hot(labels, num_classes)
        if smoothing:
            targets = F.label_smooth(targets, epsilon=smoothing)
    if mixture is None:
        return targets
    lam = paddle.to_tensor(mixture.lam.reshape(-1, 1))
    return targets * lam + targets.flip(0) * (1 - lam)
