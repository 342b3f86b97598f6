"""What teaches: the attention maps of a finished encoder's last block, before the softmax (as the published code)."""

import paddle
from paddle import Tensor

from mae_core.models.encoder import ViTEncoder
from mae_core.ops.masking import last_without_data
from mae_core.ops.random_masking import Noise, random_masking


class Teacher:
    """A finished encoder, which answers only; no checkpoint holds it.

    Args:
        encoder: its weights stay.
    """

    def __init__(self, encoder: ViTEncoder) -> None:
        self.encoder, self._before = encoder, encoder.blocks[:-1]
        self.heads: int = encoder.blocks[-1].attn.num_heads

    @paddle.no_grad()
    def maps(self, images: Tensor, mask_ratio: float, noise: Noise, valid: Tensor | None) -> Tensor:
        """Return q k^T / sqrt(d) of the visible tokens in the last block -> float32 [N, h, 1 + K, 1 + K].

        Args:
            images, mask_ratio, noise, valid: see `MaskedAutoencoderViT.forward`; the same ones leave the same patches
                visible, in the same order.
        """
        encoder, last = self.encoder, self.encoder.blocks[-1]
        if valid is not None:
            noise = last_without_data(noise, valid)
        visible, masking = random_masking(images, mask_ratio, noise=noise, pixels=encoder.pixels)
        tokens = encoder.run_blocks(self._before, encoder.embed(visible, masking.ids_keep))  # [N, 1 + K, D]
        maps: Tensor = last.attn.logits(last.norm1(tokens))
        return maps
