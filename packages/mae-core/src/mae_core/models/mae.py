"""The masked autoencoder (paper section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import paddle
from paddle import Tensor, nn
from paddle.distributed.fleet.utils import recompute

from mae_core.epsilons import LN_EPS
from mae_core.models.cross_decoder import CrossBlock, Mixtures
from mae_core.models.encoder import EncoderOptions, ViTEncoder
from mae_core.models.transformer import Block
from mae_core.ops.layers import LayerNorm, Linear, add_token
from mae_core.ops.masked_pixel_loss import masked_pixel_loss
from mae_core.ops.masking import last_without_data
from mae_core.ops.patches import unpatchify
from mae_core.ops.products import carried
from mae_core.ops.random_masking import Noise, len_keep, random_masking
from mae_core.ops.reference import Masking, batch_size, patch_targets, take_rows

if TYPE_CHECKING:
    from typing_extensions import Unpack

DecoderKind = Literal["full", "cross"]


class AutoencoderOptions(EncoderOptions, total=False):
    """Arguments of `MaskedAutoencoderViT`."""

    decoder_kind: DecoderKind
    decoder_embed_dim: int
    decoder_depth: int
    decoder_num_heads: int
    norm_pix_loss: bool


class MaskedAutoencoderViT(ViTEncoder):
    """Asymmetric encoder-decoder that predicts the pixels of removed patches.

    The decoder sees `[class, visible, removed]` tokens: attention does not care about their order and
    positions are gathered by patch number, so nothing is unshuffled unless the full prediction is asked
    for. Loss and gradients are the paper's up to rounding.

    With a cross-attention decoder (`cross_decoder`) removed patches see the visible ones only, and what the encoder's
    blocks put out in place of its normalised end: `norm` is not trained.

    Args:
        decoder_kind: "full", the paper's, or "cross".
        decoder_embed_dim, decoder_depth, decoder_num_heads: the decoder; 512, 8, 16 in the paper, 512, 12, 16 in
            CrossMAE's.
        norm_pix_loss: predict pixels normalised within each patch (better features) or plain ones (pictures).
        kwargs: see `ViTEncoder`.
    """

    def __init__(
        self,
        *,
        decoder_kind: DecoderKind = "full",
        decoder_embed_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        norm_pix_loss: bool = True,
        **kwargs: Unpack[EncoderOptions],
    ) -> None:
        super().__init__(trainable_pos=False, **kwargs)
        if decoder_kind not in ("full", "cross"):
            raise ValueError(f"decoder_kind={decoder_kind!r}; use 'full' or 'cross'")
        mlp_ratio, qkv_bias = kwargs.get("mlp_ratio", 4.0), kwargs.get("qkv_bias", True)
        self.decoder_kind, self.norm_pix_loss = decoder_kind, norm_pix_loss
        if decoder_kind == "full":
            self.decoder_embed = Linear(self.embed_dim, decoder_embed_dim)
        self.mask_token = self.create_parameter(
            [1, 1, decoder_embed_dim], default_initializer=nn.initializer.Normal(std=0.02)
        )
        self.decoder_pos_embed = self._make_pos_embed(decoder_embed_dim, trainable=False)
        if decoder_kind == "full":
            blocks = [Block(decoder_embed_dim, decoder_num_heads, mlp_ratio, qkv_bias) for _ in range(decoder_depth)]
        else:
            sizes = decoder_embed_dim, self.embed_dim, decoder_num_heads, mlp_ratio, qkv_bias
            blocks = [CrossBlock(*sizes) for _ in range(decoder_depth)]
            self.decoder_mixtures = Mixtures(1 + len(self.blocks), decoder_depth)
            self.norm.weight.stop_gradient = self.norm.bias.stop_gradient = True
        self.decoder_blocks = nn.LayerList(blocks)
        self.decoder_norm = LayerNorm(decoder_embed_dim, epsilon=LN_EPS)
        self.decoder_pred = Linear(decoder_embed_dim, self.patch_size**2 * self.in_chans)

    def forward(
        self,
        images: Tensor,
        mask_ratio: float = 0.75,
        *,
        noise: Noise | None = None,
        mask: Tensor | None = None,
        valid: Tensor | None = None,
        predicted: float | None = None,
        return_pred: bool = True,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Mask, reconstruct and score images.

        Args:
            images: [N, H, W, C] as stored (uint8; int16 with the bits of uint16; floats where `value_range` is of
                floats), normalised here, or float [N, C, H, W], taken as normalised.
            mask_ratio: share of patches to remove, in (0, 1).
            noise: float32 [N, L] or a `MaskKey`, decides the mask (see `ops.random_masking`); drawn when None.
            mask: bool or 0/1 [N, L], 1 = remove; the caller's own mask instead of a drawn one.
            valid: 0/1 [N, L], 1 = the patch holds data; the others are the first to be removed, unless `mask` says
                otherwise, and do not count in the loss. None: all count.
            predicted: share of all patches that a cross-attention decoder predicts and scores; None: all removed ones.
                Those of the smallest noise among the removed are taken: noise is drawn alike for all patches, so its
                order is a random permutation, and any part of it a uniform choice, the same for the same mask. Of
                blocks and of a `mask` of one's own the order is by place.
            return_pred: predict every patch, in image order; without it (training) only removed
                patches are predicted and pred is None. The loss is the same.

        Returns:
            loss: float32 scalar, mean over removed patches (over `predicted` ones), of those that hold data.
            pred: [N, L, p*p*C] in the order of `patchify`, or None.
            mask: float32 [N, L], 0 keep, 1 remove.

        Raises:
            ValueError: images, ratio, noise or mask do not fit.
        """
        self.check_images(images)
        if valid is not None and mask is None:
            noise = last_without_data(noise, valid)
        visible, masking = random_masking(images, mask_ratio, noise=noise, mask=mask, pixels=self.pixels)
        if masking.ids_remove.shape[1] == 0:
            raise ValueError("no patch is removed, so there is nothing to predict; use forward_features for that")
        keep, ids = masking.ids_keep.shape[1], masking.ids_remove[:, : self._count_predicted(masking, predicted)]
        if self.decoder_kind == "cross":
            tokens = self.embed(visible, masking.ids_keep)  # [N, 1 + K, D]
            decoded = self.decode_crosswise(tokens, paddle.concat(masking[:2], axis=1) if return_pred else ids)
        else:
            latent = self.norm(self.encode(visible, masking.ids_keep))  # [N, 1 + K, D]
            decoded = self.decode(latent, masking, 1 if return_pred else 1 + keep)
        pred = self.decoder_pred(self.decoder_norm(decoded))  # [N, L or R, p*p*C], R of the L - K removed patches
        scored = pred[:, keep : keep + ids.shape[1]] if return_pred else pred  # [N, R, p*p*C]
        counted = None if valid is None else take_rows(valid.unsqueeze(-1), ids)[:, :, 0]  # [N, R]
        loss = masked_pixel_loss(scored, images, ids, self.pixels, self.norm_pix_loss, counted)
        return loss, take_rows(pred, masking.ids_restore) if return_pred else None, masking.mask

    def _count_predicted(self, masking: Masking, predicted: float | None) -> int:
        """Return how many removed patches are predicted; the share is rounded as the mask ratio is."""
        removed, length = masking.ids_remove.shape[1], self.num_patches
        if predicted is None:
            return int(removed)
        if self.decoder_kind != "cross":
            raise ValueError(f"predicted={predicted}, but only a cross-attention decoder can leave removed patches out")
        count = length - len_keep(length, predicted)
        if not 0 < count <= removed:
            raise ValueError(f"predicted={predicted} are {count} of {length} patches; {removed} are removed")
        return count

    def decode_crosswise(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """Encode tokens [N, 1 + K, D], and decode the patches ids [N, R] from them -> [N, R, decoder D]."""
        contexts = self.decoder_mixtures([tokens, *self.block_outputs(self.blocks, tokens)])
        pos = self.decoder_pos_embed[:, 1:].expand([batch_size(ids), -1, -1])  # [N, L, decoder D]
        x = add_token(self.mask_token, take_rows(pos, ids))  # [N, R, decoder D]
        for block, context in zip(self.decoder_blocks, contexts, strict=True):
            recomputes = self.grad_checkpointing and self.training
            x = recompute(carried(block), x, context) if recomputes else block(x, context)
        return x

    def decode(self, latent: Tensor, masking: Masking, first: int) -> Tensor:
        """Decode latent [N, 1 + K, D] in the order class, visible, removed -> [N, 1 + L - first, decoder D].

        The last block computes only the tokens from number `first` on, though all are attended to.
        """
        rows = batch_size(masking.ids_remove)
        pos = self.decoder_pos_embed[:, 1:].expand([rows, -1, -1])  # [N, L, decoder D]
        x = self.decoder_embed(latent)
        pos_cls = self.decoder_pos_embed[:, :1].expand([rows, -1, -1])
        x = x + paddle.concat([pos_cls, take_rows(pos, masking.ids_keep)], axis=1)
        tail = add_token(self.mask_token, take_rows(pos, masking.ids_remove))  # [N, L - K, decoder D]
        return self.run_blocks(self.decoder_blocks, paddle.concat([x, tail.astype(x.dtype)], axis=1), first)

    def targets(self, patches: Tensor) -> Tensor:
        """Turn patches [..., p*p*C] (as stored or normalised) into what the decoder is to predict."""
        with paddle.no_grad():
            return patch_targets(self.normalize(patches).astype("float32"), self.norm_pix_loss)

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode whole images, masking off -> [N, 1 + L, D] after the norm, class token first, image order."""
        return self.norm(self.encode(self.normalize(self.patchify(images))))

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Put patches [N, L, p*p*C] back into images [N, C, H, W]."""
        return unpatchify(patches, self.patch_size, self.grid)
