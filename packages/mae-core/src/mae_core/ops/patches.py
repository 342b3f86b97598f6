"""Images to patches and back, in the order n (h w) (p q c): rows, columns, then channel."""

from typing import NamedTuple

import paddle
from paddle import Tensor


def pair(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """Turn a size or a (height, width) pair into a pair."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches.

    Args:
        images: uint8 [N, H, W, C] or float [N, C, H, W]; H and W divisible by p = patch_size.

    Returns:
        [N, L, p*p*C] of the same dtype, L = H/p * W/p.
    """
    p = patch_size
    if images.dtype == paddle.uint8:
        _, height, width, chans = images.shape
        grid = images.reshape([-1, height // p, p, width // p, p, chans])  # [N, h, p, w, p, C]
        grid = _transpose(grid, [0, 1, 3, 2, 4, 5])  # [N, h, w, p, p, C]
    else:
        _, chans, height, width = images.shape
        grid = images.reshape([-1, chans, height // p, p, width // p, p])  # [N, C, h, p, w, p]
        grid = grid.transpose([0, 2, 4, 3, 5, 1])  # [N, h, w, p, p, C]
    return grid.reshape([-1, (height // p) * (width // p), p * p * chans])  # [N, L, p*p*C]


def _transpose(x: Tensor, axes: list[int]) -> Tensor:
    try:
        return x.transpose(axes)
    except TypeError:  # Paddle 2.6 does not let uint8 be transposed in a static graph
        return x.astype("int32").transpose(axes).astype(x.dtype)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Put patches [N, L, p*p*C] back into images [N, C, H, W]; the inverse of `patchify` for float images."""
    p, (h, w) = patch_size, grid
    x = patches.reshape([-1, h, w, p, p, patches.shape[-1] // (p * p)])  # [N, h, w, p, p, C]
    return x.transpose([0, 5, 1, 3, 2, 4]).reshape([-1, x.shape[-1], h * p, w * p])  # [N, C, H, W]


class Pixels(NamedTuple):
    """How pixels become patches: a uint8 pixel x of channel c counts as x * scale[c] + shift[c]."""

    patch_size: int
    scale: Tensor  # float32 [C]
    shift: Tensor  # float32 [C]


def normalize_patches(patches: Tensor, pixels: Pixels) -> Tensor:
    """Turn uint8 patches [..., p*p*C] into normalised float32; float patches are taken as normalised already."""
    if patches.dtype != paddle.uint8:
        return patches
    repeat = pixels.patch_size**2
    return patches.astype("float32") * pixels.scale.tile([repeat]) + pixels.shift.tile([repeat])


def denormalize_patches(patches: Tensor, pixels: Pixels) -> Tensor:
    """Turn normalised patches [..., p*p*C] into pixel values, 0 to 1 where they were uint8."""
    repeat = pixels.patch_size**2
    return (patches - pixels.shift.tile([repeat])) / (pixels.scale.tile([repeat]) * 255.0)
