"""Patches that hold data: told apart by the last channel of images that are read with DATA.NODATA."""

from paddle import Tensor

from mae_core.ops.patches import Pixels, unit_patches

LEAST = 0.5  # part of a patch's values that are data, where it counts as one that holds them


def split_coverage(pixels: Pixels, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split off the channel that says how much of each pixel are data.

    Args:
        pixels: how the model cuts images.
        images: as stored [N, H, W, C + 1]; those without such a channel, [N, H, W, C], stay as they are.

    Returns:
        images: [N, H, W, C].
        valid: float32 [N, L], 1 where at least half of a patch are data, else 0; None where nothing is said of it.
    """
    chans = pixels.scale.shape[0]
    if images.shape[-1] != chans + 1:
        return images, None
    covered = unit_patches(pixels.patchify(images[..., chans:]), pixels)  # [N, L, p*p]
    return images[..., :chans], (covered.mean(axis=-1) >= LEAST).astype("float32")
