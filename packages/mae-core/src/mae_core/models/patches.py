"""Images to patches and back, in the order n (h w) (p q c): rows, columns, then channel."""

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
        grid = grid.transpose([0, 1, 3, 2, 4, 5])  # [N, h, w, p, p, C]
    else:
        _, chans, height, width = images.shape
        grid = images.reshape([-1, chans, height // p, p, width // p, p])  # [N, C, h, p, w, p]
        grid = grid.transpose([0, 2, 4, 3, 5, 1])  # [N, h, w, p, p, C]
    return grid.reshape([-1, (height // p) * (width // p), p * p * chans])  # [N, L, p*p*C]


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Put patches [N, L, p*p*C] back into images [N, C, H, W]; the inverse of `patchify` for float images."""
    p, (h, w) = patch_size, grid
    x = patches.reshape([-1, h, w, p, p, patches.shape[-1] // (p * p)])  # [N, h, w, p, p, C]
    return x.transpose([0, 5, 1, 3, 2, 4]).reshape([-1, x.shape[-1], h * p, w * p])  # [N, C, H, W]


def normalize_patches(patches: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Turn uint8 pixels into normalised float32, `x * scale + shift` a pixel; float input passes as it is."""
    return patches.astype("float32") * scale + shift if patches.dtype == paddle.uint8 else patches
