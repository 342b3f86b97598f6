"""Bicubic resizing with the filter widened where images shrink, in float64, as an independent yardstick."""

import numpy as np


def _weights(count_in, count_out):
    """Return [out, in]: the cubic of Keys with a = -0.5, normalised over the pixels that it reaches."""
    scale = count_in / count_out
    support = max(scale, 1.0)
    centres = (np.arange(count_out) + 0.5) * scale
    x = np.abs((np.arange(count_in)[None] + 0.5 - centres[:, None]) / support)
    a = -0.5
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def resize(pixels, size):
    """Resize [H, W, C] to (width, height)."""
    rows, columns = _weights(pixels.shape[0], size[1]), _weights(pixels.shape[1], size[0])
    return np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(np.float64), columns)
