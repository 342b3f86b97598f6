"""Pixel statistics, and images to patches and back, in the order n (h w) (p q c): rows, columns, then channel."""

from collections.abc import Sequence
from typing import NamedTuple

import paddle
from paddle import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def default_statistics(in_chans: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel where none are known: ImageNet's for 3 channels, else 0.5 each."""
    return (IMAGENET_MEAN, IMAGENET_STD) if in_chans == 3 else ((0.5,) * in_chans, (0.5,) * in_chans)


def pixel_statistics(
    in_chans: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel; ImageNet's three count as none given, see `default_statistics`."""
    given = tuple(mean), tuple(std)
    return default_statistics(in_chans) if given == (IMAGENET_MEAN, IMAGENET_STD) else given


def pair(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """Turn a size or a (height, width) pair into a pair."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def patchify(images: Tensor, patch_size: int, *, stored_floats: bool = False) -> Tensor:
    """Cut images into patches.

    Args:
        images: as stored [N, H, W, C] or normalised float [N, C, H, W]; H and W divisible by p = patch_size.
            Integers are as stored; int16 holds the bits of uint16, which Paddle lacks, and becomes int32.
        stored_floats: floats are as stored, too.

    Returns:
        [N, L, p*p*C] of the same dtype, L = H/p * W/p.
    """
    p = patch_size
    if stored_floats or not is_float(images):
        _, height, width, chans = images.shape
        grid = widen(images).reshape([-1, height // p, p, width // p, p, chans])  # [N, h, p, w, p, C]
        grid = _transpose(grid, [0, 1, 3, 2, 4, 5])  # [N, h, w, p, p, C]
    else:
        _, chans, height, width = images.shape
        grid = images.reshape([-1, chans, height // p, p, width // p, p])  # [N, C, h, p, w, p]
        grid = grid.transpose([0, 2, 4, 3, 5, 1])  # [N, h, w, p, p, C]
    return grid.reshape([-1, (height // p) * (width // p), p * p * chans])  # [N, L, p*p*C]


def widen(x: Tensor) -> Tensor:
    """Turn int16 that holds the bits of uint16 into int32 of its values."""
    if x.dtype != paddle.int16:
        return x
    x = x.astype("int32")
    return x + 65536 * (x < 0).astype("int32")


def _transpose(x: Tensor, axes: list[int]) -> Tensor:
    if x.dtype == paddle.int32 and not paddle.in_dynamic_mode():
        # Paddle 3's inference engine has no kernel for what it makes of this; floats hold values of 24 bits exactly.
        return x.astype("float32").transpose(axes).astype("int32")
    try:
        return x.transpose(axes)
    except TypeError:  # Paddle 2.6 does not let uint8 be transposed in a static graph
        return x.astype("int32").transpose(axes).astype(x.dtype)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Put patches [N, L, p*p*C] back into images [N, C, H, W]; the inverse of `patchify` for float images."""
    p, (h, w) = patch_size, grid
    x = patches.reshape([-1, h, w, p, p, patches.shape[-1] // (p * p)])  # [N, h, w, p, p, C]
    return x.transpose([0, 5, 1, 3, 2, 4]).reshape([-1, x.shape[-1], h * p, w * p])  # [N, C, H, W]


_FLOATS = (paddle.float16, paddle.bfloat16, paddle.float32, paddle.float64)


class Pixels(NamedTuple):
    """How images become patches: a pixel x of channel c counts as x * scale[c] + shift[c].

    Integers are as stored, channels last: uint8, int16 (the bits of uint16) or int32. Floats are normalised already,
    channels first, unless `stored_floats` says that they are like the integers.
    """

    patch_size: int
    scale: Tensor  # float32 [C]
    shift: Tensor  # float32 [C]
    low: float = 0.0  # the stored value that counts as 0 to mean and deviation
    span: float = 255.0  # from there to what counts as 1
    stored_floats: bool = False

    def are_stored(self, x: Tensor) -> bool:
        """Return whether images, or patches of them, are as stored."""
        return self.stored_floats or not is_float(x)

    def patchify(self, images: Tensor) -> Tensor:
        """Cut images into patches [N, L, p*p*C]; see `patchify`."""
        return patchify(images, self.patch_size, stored_floats=self.stored_floats)


def is_float(x: Tensor) -> bool:
    """Return whether a tensor holds floats."""
    return x.dtype in _FLOATS


def normalize_patches(patches: Tensor, pixels: Pixels) -> Tensor:
    """Turn patches [..., p*p*C] as stored into normalised float32; others are normalised already."""
    if not pixels.are_stored(patches):
        return patches
    repeat = pixels.patch_size**2
    return patches.astype("float32") * pixels.scale.tile([repeat]) + pixels.shift.tile([repeat])


def denormalize_patches(patches: Tensor, pixels: Pixels) -> Tensor:
    """Turn normalised patches [..., p*p*C] into pixel values, 0 to 1 over the range of those stored."""
    repeat = pixels.patch_size**2
    stored = (patches - pixels.shift.tile([repeat])) / (pixels.scale.tile([repeat]) * pixels.span)
    return stored - pixels.low / pixels.span if pixels.low else stored


def unit_patches(patches: Tensor, pixels: Pixels) -> Tensor:
    """Turn patches as stored into float32 pixel values, 0 to 1 over their range."""
    return (patches.astype("float32") - pixels.low) / pixels.span
