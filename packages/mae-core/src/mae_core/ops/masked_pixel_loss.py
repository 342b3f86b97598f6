"""The pixel loss (paper section 3, "Reconstruction target"), straight from the image."""

import paddle
from paddle import Tensor

from mae_core.ops import fused, reference
from mae_core.ops.patches import Pixels


@paddle.jit.not_to_static
def masked_pixel_loss(
    pred: Tensor,
    images: Tensor,
    ids_remove: Tensor,
    pixels: Pixels,
    norm_pix: bool = True,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of the removed patches; the fused operator never materialises the target.

    Args:
        pred: float [N, R, p*p*C], predictions of the removed patches.
        images: as stored [N, H, W, C], normalised on the way, or normalised [N, C, H, W]; see `Pixels`.
        ids_remove: int64 [N, R], which patches those are.
        pixels: patch size, scale and shift.
        norm_pix: compare with each patch normalised by its own mean and unbiased variance (epsilon 1e-6).
        weights: float32 [N, R], how much each removed patch counts; plain operations weigh. None: all alike.

    Returns:
        float32 scalar; its gradient goes to `pred` alone.

    Raises:
        ValueError: shapes do not fit each other, or (on a CPU) an id is outside [0, L).
    """
    expected = [*ids_remove.shape, pixels.patch_size**2 * pixels.scale.shape[0]]
    if list(pred.shape)[1:] != expected[1:] or images.ndim != 4:
        raise ValueError(f"pred has shape {list(pred.shape)}; [N, R, p*p*C] = {expected} is needed")
    if weights is not None or not fused.in_use() or images.dtype not in (paddle.uint8, paddle.int16, paddle.float32):
        return reference.masked_pixel_loss(pred, images, ids_remove, pixels, norm_pix, weights)
    if not fused.on_gpu(pred):
        pred = pred.astype("float32")
    inputs = {
        "pred": fused.dense(pred),
        "image": fused.dense(images),
        "scale": pixels.scale,
        "shift": pixels.shift,
        "ids_remove": fused.dense(ids_remove),
    }
    attrs = {"patch": pixels.patch_size, "norm_pix": norm_pix, "stored": pixels.are_stored(images)}
    return fused.call("mae_pixel_loss", inputs, attrs)[0]
