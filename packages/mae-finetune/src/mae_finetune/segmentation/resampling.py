"""Bilinear resizing and pooling to a grid, as products with constant matrices.

Paddle's own operators for these are refused by its inference engine (oneDNN) and by ONNX for uneven parts, and their
gradients on a GPU add up in no fixed order; products are exact in both, and a run is repeated bit for bit.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize [N, C, H, W] to `size` bilinearly, pixel centres aligned, in the type of x."""
    if list(x.shape[2:]) == list(size):
        return x
    return _apply(x, *(_bilinear(old, new) for old, new in zip(x.shape[2:], size, strict=True)))


def pool(x: Tensor, side: int) -> Tensor:
    """Average [N, C, H, W] over side x side parts, which share a pixel where they do not divide the plane."""
    return _apply(x, *(_means(length, side) for length in x.shape[2:]))


def _apply(x: Tensor, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> Tensor:
    # Logits stay float32; a graph that is drawn has no autocast, and there Paddle 2 refuses the switch.
    with paddle.amp.auto_cast(enable=False) if paddle.in_dynamic_mode() else nullcontext():
        down = paddle.to_tensor(rows).astype(x.dtype)
        across = paddle.to_tensor(columns.T.copy()).astype(x.dtype)
        # Planes one below the other: oneDNN's products read what convolutions leave in its own order wrongly else.
        flat = paddle.matmul(x.reshape([-1, x.shape[3]]), across)  # [N * C * H, W']
        planes = flat.reshape([-1, x.shape[2], columns.shape[0]])  # [N * C, H, W']
        return paddle.matmul(down, planes).reshape([-1, x.shape[1], rows.shape[0], columns.shape[0]])


@cache
def _bilinear(old: int, new: int) -> NDArray[np.float32]:
    """Return [new, old]: what each old pixel gives to each new one."""
    centres = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    weights = np.zeros((new, old))
    first = np.floor(centres).astype(int)
    for place, weight in ((first, first + 1 - centres), (np.minimum(first + 1, old - 1), centres - first)):
        np.add.at(weights, (np.arange(new), place), weight)
    return weights.astype(np.float32)


@cache
def _means(length: int, parts: int) -> NDArray[np.float32]:
    """Return [parts, length]: part i averages pixels from i * length / parts, rounded down, to the next, up."""
    weights = np.zeros((parts, length))
    for i in range(parts):
        start, end = i * length // parts, -(-(i + 1) * length // parts)
        weights[i, start:end] = 1.0 / (end - start)
    return weights.astype(np.float32)
