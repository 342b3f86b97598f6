"""Predictions as pixels, which patches hold data, and yardsticks that need no training."""

from dataclasses import dataclass

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.patches import Pixels, denormalize_patches, unit_patches, unpatchify
from mae_core.ops.random_masking import Noise
from mae_core.ops.reference import patch_statistics
from mae_data.drawing import ShownBands

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


@dataclass(frozen=True)
class Reconstruction:
    """Patches [N, L, p*p*C], 0 and 1 the ends of the value range (predictions may leave it), and the mask [N, L].

    Attributes:
        valid: [N, L], 1 where a patch holds data; None: all do.
        loss: the model's own, where a model predicted.
        patch_mean: each true patch's mean, [N, L, p*p*C], what a model that is given it knows without predicting
            anything; None for one that is not, without norm_pix_loss.
    """

    original: Tensor
    predicted: Tensor
    mask: Tensor
    valid: Tensor | None = None
    loss: Tensor | None = None
    patch_mean: Tensor | None = None


@paddle.no_grad()
def predict_patches(
    model: MaskedAutoencoderViT,
    images: Tensor,
    mask_ratio: float = 0.75,
    noise: Noise | None = None,
    mask: Tensor | None = None,
) -> Reconstruction:
    """Reconstruct images as stored under the mask that noise [N, L] or a key draws, or under one given.

    A model with norm_pix_loss predicts each patch up to its own mean and standard deviation; those of
    the true patch are put back, so such pictures look better than what the model alone knows.

    Args:
        images: [N, H, W, C], or with the channel that `split_coverage` knows.
        mask: [N, L], 1 = remove, the same number in each row; takes the place of ratio and noise.
    """
    images, valid = split_coverage(model.pixels, images)
    loss, pred, mask = model(images, mask_ratio, noise=noise, mask=mask, valid=valid)
    assert pred is not None
    patches = model.patchify(images)
    normalized, patch_mean = model.normalize(patches), None
    if model.norm_pix_loss:
        mean, deviation = patch_statistics(normalized)
        pred = pred * deviation + mean
        patch_mean = denormalize_patches(mean.expand_as(normalized), model.pixels)
    predicted = denormalize_patches(pred, model.pixels)
    return Reconstruction(unit_patches(patches, model.pixels), predicted, mask, valid, loss, patch_mean)


def masked_error(recon: Reconstruction, predicted: Tensor) -> NDArray[np.float64]:
    """Return the mean squared error over the removed patches with data of each sample, [N], pixel values 0 to 1."""
    per_patch = (predicted - recon.original).square().mean(axis=-1)  # [N, L]
    counted = recon.mask if recon.valid is None else recon.mask * recon.valid
    return ((per_patch * counted).sum(axis=1) / counted.sum(axis=1).clip(min=1.0)).numpy().astype(np.float64)


def inpaint(recon: Reconstruction, model: MaskedAutoencoderViT) -> Tensor:
    """Fill removed patches with a weighted mean of the visible patches' mean colours, [N, L, p*p*C].

    Weights fall with the cube of the distance between patch centres (on digits the best of powers 1 to 12).
    """
    (height, width), chans, pixels = model.grid, model.in_chans, model.patch_size**2
    rows, columns = np.divmod(np.arange(height * width), width)
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2  # [L, L]
    weights = paddle.to_tensor((np.maximum(squared, 1) ** -1.5).astype(np.float32))
    visible = (1.0 - recon.mask).unsqueeze(-1)  # [N, L, 1]
    colours = recon.original.reshape([-1, height * width, pixels, chans]).mean(axis=2) * visible  # [N, L, C]
    filled = paddle.matmul(weights, colours) / paddle.matmul(weights, visible)  # [N, L, C]
    return filled.tile([1, 1, pixels])  # [N, L, p*p*C]


def to_images(patches: Tensor, patch_size: int, grid: tuple[int, int], shown: ShownBands) -> NDArray[np.uint8]:
    """Turn patches of pixel values into uint8 pictures [N, H, W, 1 or 3], clipped."""
    return shown(unpatchify(patches, patch_size, grid).transpose([0, 2, 3, 1]).numpy())
