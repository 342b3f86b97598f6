"""A Vision Transformer that gives a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.models.encoder import ViTEncoder
from mae_finetune.segmentation.light_head import LightHead
from mae_finetune.segmentation.upernet import FeaturePyramid, UPerNet, conv_norm_relu, resize

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mae_core.models.options import EncoderOptions

HEADS = ("upernet", "light")
AUXILIARY_WEIGHT, AUXILIARY_CHANNELS = 0.4, 256  # of mmsegmentation's MAE recipe


def spread_blocks(depth: int) -> list[int]:
    """Return four blocks, evenly spread, the last one included: 3, 5, 7, 11 of 12 as BEiT and MAE take them.

    Of another depth they are at the ends of its quarters.
    """
    return [3, 5, 7, 11] if depth == 12 else [max(0, depth * (i + 1) // 4 - 1) for i in range(4)]


class SegmentationTransformer(ViTEncoder):
    """A ViT encoder under a segmentation head; its blocks' tokens have no last norm, as in the paper's transfer.

    Args:
        num_classes: K.
        head: "upernet" (paper appendix A.4), with an auxiliary head in training, or "light".
        head_channels: inner channels of the head; 512 in UPerNet's paper.
        class_names: a name for each class, which weight files keep.
        kwargs: see `ViTEncoder`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        head: str = "upernet",
        head_channels: int = 512,
        class_names: Sequence[str] | None = None,
        **kwargs: Unpack[EncoderOptions],
    ) -> None:
        super().__init__(trainable_pos=True, **kwargs)
        if head not in HEADS:
            raise ValueError(f"head={head!r}; use one of {', '.join(HEADS)}")
        self.num_classes, self.head_kind = num_classes, head
        self.class_names = None if class_names is None else list(class_names)
        self.norm = nn.Identity()
        self.blocks_read = spread_blocks(len(self.blocks))
        if head == "light":
            self.head = LightHead(self.embed_dim, len(self.blocks_read), num_classes, head_channels)
            return
        self.pyramid = FeaturePyramid(self.embed_dim)
        self.head = UPerNet(self.embed_dim, num_classes, head_channels)
        self.auxiliary = nn.Sequential(
            conv_norm_relu(self.embed_dim, AUXILIARY_CHANNELS, 3), nn.Dropout2D(0.1),
            nn.Conv2D(AUXILIARY_CHANNELS, num_classes, 1),
        )  # fmt: skip

    def planes(self, images: Tensor) -> list[Tensor]:
        """Encode images to the patch tokens of the blocks that are read, each [N, D, rows, columns]."""
        tokens = self.forward_intermediates(images, self.blocks_read, norm=False)
        return [t[:, 1:].transpose([0, 2, 1]).reshape([t.shape[0], self.embed_dim, *self.grid]) for t in tokens]

    def forward(self, images: Tensor) -> Tensor:
        """Segment images ([N, H, W, C] as stored or normalised [N, C, H, W]) -> logits float32 [N, K, H, W]."""
        planes = self.planes(images)
        logits = self.head(self.pyramid(planes) if self.head_kind == "upernet" else planes)
        return resize(logits.astype("float32"), self.img_size)

    def loss(self, images: Tensor, masks: Tensor, ignore: int) -> Tensor:
        """Return the mean cross-entropy over the pixels that count, with the auxiliary head's at its weight.

        Args:
            images: [N, H, W, C] as stored or normalised [N, C, H, W].
            masks: integers [N, H, W]; `ignore` where a pixel does not count.
        """
        planes = self.planes(images)
        if self.head_kind == "light":
            return segmentation_loss(resize(self.head(planes).astype("float32"), self.img_size), masks, ignore)
        pyramid = self.pyramid(planes)
        logits, auxiliary = self.head(pyramid), self.auxiliary(pyramid[2])
        losses = [
            segmentation_loss(resize(x.astype("float32"), self.img_size), masks, ignore) for x in (logits, auxiliary)
        ]
        return losses[0] + AUXILIARY_WEIGHT * losses[1]


def segmentation_loss(logits: Tensor, masks: Tensor, ignore: int) -> Tensor:
    """Return the mean cross-entropy over pixels whose class is not `ignore`; 0 where all are.

    Args:
        logits: float32 [N, K, H, W].
        masks: integers [N, H, W].
    """
    flat = masks.astype("int64").reshape([-1])
    counted = flat != ignore
    # Classes outside of K would be read outside of memory by some kernels: ignored pixels take class 0 at weight 0.
    classes = paddle.where(counted, flat, paddle.zeros_like(flat))
    pixels = logits.transpose([0, 2, 3, 1]).reshape([-1, logits.shape[1]])  # [N * H * W, K]
    each = F.cross_entropy(pixels, classes, reduction="none").reshape([-1])
    weights = counted.astype("float32")
    return (each * weights).sum() / weights.sum().clip(min=1.0)
