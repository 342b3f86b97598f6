"""A Vision Transformer that gives a class for each pixel, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.models.encoder import ViTEncoder
from mae_core.process import distributed
from mae_core.training.plan import Samples
from mae_finetune.segmentation.heads import LightHead, PyramidHead
from mae_finetune.segmentation.resampling import resize

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mae_core.models.encoder import EncoderOptions

HEADS = ("upernet", "light")
AUXILIARY_WEIGHT = 0.4  # of mmsegmentation's MAE recipe
_STATISTICS = ("._mean", "._variance")


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
        self.num_classes = num_classes
        self.name_classes(class_names)
        self.norm = nn.Identity()
        self.blocks_read = spread_blocks(len(self.blocks))
        if head == "light":
            self.head: nn.Layer = LightHead(self.embed_dim, len(self.blocks_read), num_classes, head_channels)
        else:
            self.head = PyramidHead(self.embed_dim, num_classes, head_channels)

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Name the classes, or take the names away.

        Raises:
            ValueError: there are more or fewer names than classes.
        """
        if names is not None and len(names) != self.num_classes:
            raise ValueError(f"{len(names)} class names for {self.num_classes} classes; give one each")
        self.class_names = None if names is None else list(names)

    def planes(self, images: Tensor) -> list[Tensor]:
        """Encode images to the patch tokens of the blocks that are read, each [N, D, rows, columns]."""
        tokens = self.forward_intermediates(images, self.blocks_read, norm=False)
        return [t[:, 1:].reshape([-1, *self.grid, self.embed_dim]).transpose([0, 3, 1, 2]) for t in tokens]

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Segment images ([N, H, W, C] as stored or normalised [N, C, H, W]) -> logits float32 [N, K, H, W].

        In training, a list of those of the head and, of UPerNet, of its auxiliary head.
        """
        logits = self.head(self.planes(images))
        if not self.training:
            return resize(logits.astype("float32"), self.img_size)
        return [resize(x.astype("float32"), self.img_size) for x in logits]


def training_loss(logits: Sequence[Tensor], masks: Tensor, ignore: int) -> Tensor:
    """Return the mean cross-entropy over the pixels that count, with that of an auxiliary head at its weight.

    Args:
        logits: of `SegmentationTransformer` in training.
        masks: integers [N, H, W]; `ignore` where a pixel does not count.
    """
    first, *others = (segmentation_loss(x, masks, ignore) for x in logits)
    return sum((AUXILIARY_WEIGHT * loss for loss in others), first)


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


def segment_loss(ignore: int, model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score a model in training on a batch, pixels of the value `ignore` left out."""
    loss = training_loss(model(batch.images), batch.labels, ignore)
    share_statistics(model)
    return loss, {}


@paddle.no_grad()
def share_statistics(model: nn.Layer) -> None:
    """Give the batch norms of all ranks the mean of their running statistics, so that every rank scores one model."""
    if distributed.world_size() == 1:
        return
    buffers = [value for name, value in model.state_dict().items() if name.endswith(_STATISTICS)]
    flat = np.concatenate([buffer.numpy().ravel() for buffer in buffers])
    mean = distributed.sum_array(flat) / np.float32(distributed.world_size())
    ends = np.cumsum([buffer.size for buffer in buffers])
    for buffer, values in zip(buffers, np.split(mean, ends[:-1].tolist()), strict=True):
        buffer.set_value(values.reshape(buffer.shape).astype(np.float32))
