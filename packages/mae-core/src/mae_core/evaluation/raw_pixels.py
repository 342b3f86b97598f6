"""Raw pixels as features: what a network has to beat."""

from paddle import Tensor
from paddle.nn import functional as F

from mae_core.ops.patches import widen

SIDE = 32  # pixels that the longer side is scaled down to


def pixel_features(images: Tensor) -> Tensor:
    """Scale images down by averaging to at most SIDE pixels a side and flatten them.

    Args:
        images: [N, H, W, C] as stored; int16 holds the bits of uint16.

    Returns:
        float32 [N, C*h*w].
    """
    planes = widen(images).astype("float32").transpose([0, 3, 1, 2])  # [N, C, H, W]
    height, width = planes.shape[2:]
    share = min(1.0, SIDE / max(height, width))
    size = [max(1, round(height * share)), max(1, round(width * share))]
    return F.adaptive_avg_pool2d(planes, size).flatten(1)  # [N, C*h*w]
