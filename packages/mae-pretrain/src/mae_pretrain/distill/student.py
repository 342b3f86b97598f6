"""What learns: a masked autoencoder whose last block's attention is compared with a teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.models import MaskedAutoencoderViT

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mae_core.models.mae import AutoencoderOptions


class HeadMixture(nn.Layer):
    """Mixes the maps of a student's heads to as many as a teacher has: a 1x1 convolution over heads without bias.

    Args:
        student, teacher: heads of each.
    """

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        bound = student**-0.5
        self.weight = self.create_parameter(
            [student, teacher], default_initializer=nn.initializer.Uniform(-bound, bound)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Mix [N, student's heads, L, L] -> [N, teacher's heads, L, L]."""
        n, _, length, _ = maps.shape
        mixed = paddle.matmul(self.weight, maps.flatten(2), transpose_x=True)  # [N, teacher's heads, L * L]
        return mixed.reshape([n, -1, length, length])


class Student(MaskedAutoencoderViT):
    """A masked autoencoder that can be asked how far its attention is from a teacher's.

    Weight files keep the mixture below `distillation.`, where no reader of weights sees it.

    Args:
        teacher_heads: of the teacher's last block.
        kwargs: see `MaskedAutoencoderViT`.
    """

    def __init__(self, *, teacher_heads: int, **kwargs: Unpack[AutoencoderOptions]) -> None:
        super().__init__(**kwargs)
        self.distillation = HeadMixture(self.blocks[-1].attn.num_heads, teacher_heads)

    def forward(
        self, images: Tensor, mask_ratio: float = 0.75, *, maps: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Mask, reconstruct and score images; see `MaskedAutoencoderViT.forward`.

        Args:
            maps: the teacher's [N, h, 1 + K, 1 + K] for the same mask.

        Returns:
            as there; with `maps`, their mean squared distance, float32 scalar, stands in the prediction's place.
        """
        if maps is None:
            return super().forward(images, mask_ratio, **options)
        last, seen = self.blocks[-1], []
        hook = last.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
        try:
            loss, _, mask = super().forward(images, mask_ratio, **options)
        finally:
            hook.remove()
        own = self.distillation(last.attn.logits(last.norm1(seen[0])))
        return loss, F.mse_loss(own.astype("float32"), maps), mask
