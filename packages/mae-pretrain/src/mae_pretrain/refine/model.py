"""The encoder that is refined, with a head behind each of its last blocks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import Tensor, nn

from mae_core.models.encoder import ViTEncoder
from mae_core.ops.philox import draw_words
from mae_core.ops.random_masking import MaskKey, random_masking
from mae_pretrain.refine.heads import ContrastHead, HeadSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mae_core.models.encoder import EncoderOptions


NEIGHBOURS = 2**24  # the first of Philox's blocks that neighbours are drawn from; masks take those from 0
FURTHER = 2**40  # more than a list has images


class RefinedEncoder(ViTEncoder):
    """A ViT encoder whose last blocks carry a `ContrastHead` each.

    Weight files keep the heads below `head.`, where every reader of an encoder passes over them.

    Args:
        heads: how many of the last blocks have one.
        settings: of each head.
        views: of each image in a batch, V.
        mask_ratio: part of the patches that each view lacks.
        kwargs: see `ViTEncoder`.
    """

    rests = True  # all but the heads, in the first stage

    def __init__(
        self,
        *,
        heads: int,
        settings: HeadSettings,
        views: int,
        mask_ratio: float = 0.0,
        **kwargs: Unpack[EncoderOptions],
    ) -> None:
        super().__init__(trainable_pos=False, **kwargs)
        depth = len(self.blocks)
        if not 1 <= heads <= depth:
            raise ValueError(f"heads={heads}; the encoder has {depth} blocks, each takes one")
        self.views, self.mask_ratio, self.refined = views, mask_ratio, list(range(depth - heads, depth))
        # The heads' batch norms take it away, so its gradient is rounding, which Adam would make full steps of.
        self.norm.bias.stop_gradient = True
        self.head = nn.LayerDict({f"block_{i}": ContrastHead(self.embed_dim, settings) for i in self.refined})

    def forward(self, images: Tensor, numbers: Tensor, seed: int, epoch: int, heads_alone: bool) -> Tensor:
        """Score one batch of views, and put its samples into the queues.

        Args:
            images: [N * V, H, W, C] as stored or normalised [N * V, C, H, W]; the views of an image in a row.
            numbers: int64 [N * V], the images' numbers in their list.
            seed, epoch: decide with a sample's number what is masked, and whom it is drawn to.
            heads_alone: whether the encoder stays as it is.

        Returns:
            scalar, the sum over the heads; see `ContrastHead.forward`.
        """
        with paddle.no_grad() if heads_alone else nullcontext():
            tokens = self._class_tokens(images, MaskKey(seed, epoch, self._number_views(numbers)))
        samples, total = numbers[:: self.views], paddle.zeros([])
        for place, (head, of_views) in enumerate(zip(self.head.values(), tokens, strict=True)):
            views = of_views.reshape([-1, self.views, self.embed_dim]).unbind(axis=1)  # V times [N, D]
            blocks = range(NEIGHBOURS + place * self.views, NEIGHBOURS + (place + 1) * self.views)
            uniform = np.stack([draw_words(seed, epoch, samples.numpy(), block)[0] for block in blocks])  # [V, N]
            total = total + head(views, samples, paddle.to_tensor(uniform))
        return total

    def _class_tokens(self, images: Tensor, key: MaskKey) -> list[Tensor]:
        """Encode views to the normalised class tokens [N * V, D] behind each of the refined blocks."""
        if self.mask_ratio:
            self.check_images(images)
            visible, masking = random_masking(images, self.mask_ratio, noise=key, pixels=self.pixels)
            embedded = self.embed(visible, masking.ids_keep)
        else:
            embedded = self.embed(self.normalize(self.patchify(images)))
        outputs = list(self.block_outputs(self.blocks, embedded))
        return [self.norm(outputs[block])[:, 0] for block in self.refined]

    def _number_views(self, numbers: Tensor) -> Tensor:
        """Number the views apart, beyond all numbers of images -> int64 [N * V]."""
        return numbers + FURTHER * (paddle.arange(len(numbers), dtype="int64") % self.views)
