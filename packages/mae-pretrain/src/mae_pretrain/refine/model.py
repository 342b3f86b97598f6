"""The encoder that is refined, with a head behind each of its last blocks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import Tensor, nn

from mae_core.models.encoder import ViTEncoder
from mae_core.ops.philox import draw_words
from mae_pretrain.refine.heads import ContrastHead, HeadSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mae_core.models.options import EncoderOptions


class RefinedEncoder(ViTEncoder):
    """A ViT encoder whose last blocks carry a `ContrastHead` each.

    Weight files keep the heads below `head.`, where every reader of an encoder passes over them.

    Args:
        heads: how many of the last blocks have one.
        settings: of each head.
        views: of each image in a batch, V.
        kwargs: see `ViTEncoder`.
    """

    def __init__(self, *, heads: int, settings: HeadSettings, views: int, **kwargs: Unpack[EncoderOptions]) -> None:
        super().__init__(trainable_pos=False, **kwargs)
        depth = len(self.blocks)
        if not 1 <= heads <= depth:
            raise ValueError(f"heads={heads}; the encoder has {depth} blocks, each takes one")
        self.views, self.refined = views, list(range(depth - heads, depth))
        self.head = nn.LayerDict({f"block_{i}": ContrastHead(self.embed_dim, settings) for i in self.refined})

    def forward(self, images: Tensor, numbers: Tensor, seed: int, epoch: int, heads_alone: bool) -> Tensor:
        """Score one batch of views, and put its samples into the queues.

        Args:
            images: [N * V, H, W, C] as stored or normalised [N * V, C, H, W]; the views of an image in a row.
            numbers: int64 [N * V], the images' numbers in their list.
            seed, epoch: decide with a sample's number which neighbours it is drawn to.
            heads_alone: whether the encoder stays as it is.

        Returns:
            scalar, the sum over the heads; see `ContrastHead.forward`.
        """
        with paddle.no_grad() if heads_alone else nullcontext():
            outputs = self.forward_intermediates(images, self.refined)
        samples, total = numbers[:: self.views], paddle.zeros([])
        for place, (head, tokens) in enumerate(zip(self.head.values(), outputs, strict=True)):
            views = tokens[:, 0].reshape([-1, self.views, self.embed_dim]).unbind(axis=1)  # V times [N, D]
            blocks = range(place * self.views, (place + 1) * self.views)
            uniform = np.stack([draw_words(seed, epoch, samples.numpy(), block)[0] for block in blocks])  # [V, N]
            total = total + head(views, samples, paddle.to_tensor(uniform))
        return total

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode whole images -> [N, 1 + L, D] after the norm, class token first, image order."""
        return self.norm(self.encode(self.normalize(self.patchify(images))))
