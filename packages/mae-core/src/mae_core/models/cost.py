"""What models cost: parameters and multiply-accumulates (MACs), from their sizes alone.

A MAC is one multiplication and addition of a linear layer or of the two products of attention; norms, softmax, GELU,
additions and weighted sums are left out, as is usual. Numbers are those of a forward pass of one image.
"""

from dataclasses import dataclass
from typing import NamedTuple

from mae_core.ops.patches import pair
from mae_core.ops.random_masking import len_keep


class Cost(NamedTuple):
    """A number for the encoder's side and for the decoder's."""

    encoder: int
    decoder: int

    @property
    def total(self) -> int:
        """The encoder's and the decoder's together."""
        return self.encoder + self.decoder


@dataclass(frozen=True)
class ModelSize:
    """Arguments of `MaskedAutoencoderViT` and `VisionTransformer` that cost depends on, with their defaults."""

    embed_dim: int = 768
    depth: int = 12
    patch_size: int = 16
    img_size: int | tuple[int, int] = 224
    in_chans: int = 3
    mlp_ratio: float = 4.0
    decoder_kind: str = "full"
    decoder_embed_dim: int = 512
    decoder_depth: int = 8
    num_classes: int = 1000

    @property
    def num_patches(self) -> int:
        """Number of patches L."""
        height, width = pair(self.img_size)
        return (height // self.patch_size) * (width // self.patch_size)

    @property
    def patch_numbers(self) -> int:
        """Pixels of a patch times channels, p*p*C."""
        return self.patch_size**2 * self.in_chans


def vit_parameters(size: ModelSize) -> int:
    """Count the parameters of a classifier, average pooling and position embedding included."""
    return _encoder_parameters(size) + _linear(size.embed_dim, size.num_classes)


def mae_parameters(size: ModelSize, *, trainable: bool = False) -> Cost:
    """Count the parameters of a masked autoencoder; `trainable` leaves out the fixed position embeddings."""
    dim, tokens = size.decoder_embed_dim, 1 + size.num_patches
    is_cross = size.decoder_kind == "cross"
    decoder = dim + tokens * dim + 2 * dim + _linear(dim, size.patch_numbers)  # mask token, positions, norm, prediction
    if is_cross:
        decoder += (1 + size.depth) * size.decoder_depth + size.decoder_depth * _cross_block_parameters(size)
    else:
        decoder += _linear(size.embed_dim, dim) + size.decoder_depth * _block_parameters(dim, size.mlp_ratio)
    encoder = _encoder_parameters(size)
    if not trainable:
        return Cost(encoder, decoder)
    unused_norm = 2 * size.embed_dim if is_cross else 0
    return Cost(encoder - tokens * size.embed_dim - unused_norm, decoder - tokens * dim)


def vit_macs(size: ModelSize) -> int:
    """Count the MACs of a classifier."""
    tokens = 1 + size.num_patches
    return _encoder_macs(size, size.num_patches, tokens) + size.embed_dim * size.num_classes


def mae_macs(size: ModelSize, mask_ratio: float = 0.75, predicted: float | None = None) -> Cost:
    """Count the MACs of a masked autoencoder as this package trains it.

    Only visible patches are embedded, and behind the last decoder block's attention only removed ones are computed.

    Args:
        predicted: share of all patches that a cross-attention decoder predicts; None: all removed ones.
    """
    patches = size.num_patches
    keep = len_keep(patches, mask_ratio)
    encoder = _encoder_macs(size, keep, 1 + keep)
    if size.decoder_kind == "cross":
        queries = patches - len_keep(patches, mask_ratio if predicted is None else predicted)
        return Cost(encoder, _cross_decoder_macs(size, 1 + keep, queries))
    return Cost(encoder, _decoder_macs(size, 1 + keep, patches - keep))


def mae_macs_as_written(size: ModelSize, mask_ratio: float = 0.75) -> Cost:
    """Count the MACs of the same network where every patch is embedded and every token decoded to pixels."""
    keep = len_keep(size.num_patches, mask_ratio)
    encoder = _encoder_macs(size, size.num_patches, 1 + keep)
    return Cost(encoder, _decoder_macs(size, 1 + keep, 1 + size.num_patches))


def _linear(dim_in: int, dim_out: int) -> int:
    return dim_in * dim_out + dim_out


def _block_parameters(dim: int, mlp_ratio: float) -> int:
    hidden = int(dim * mlp_ratio)
    return 4 * dim + _linear(dim, 3 * dim) + _linear(dim, dim) + _linear(dim, hidden) + _linear(hidden, dim)


def _cross_block_parameters(size: ModelSize) -> int:
    dim, hidden = size.decoder_embed_dim, int(size.decoder_embed_dim * size.mlp_ratio)
    attention = 2 * _linear(dim, dim) + _linear(size.embed_dim, 2 * dim)  # query, projection, key and value
    return 2 * size.embed_dim + 4 * dim + attention + _linear(dim, hidden) + _linear(hidden, dim)


def _encoder_parameters(size: ModelSize) -> int:
    """Count patch embedding, class token, positions, blocks and the norm, final or of the pooled features."""
    dim = size.embed_dim
    outside = _linear(size.patch_numbers, dim) + dim + (1 + size.num_patches) * dim + 2 * dim
    return outside + size.depth * _block_parameters(dim, size.mlp_ratio)


def _block_macs(dim: int, mlp_ratio: float, tokens: int, queries: int) -> int:
    """Count one block over `tokens`, of which the last `queries` are computed further than key and value."""
    attention = 2 * queries * tokens * dim
    return 3 * dim * dim * tokens + attention + queries * (dim * dim + 2 * dim * int(dim * mlp_ratio))


def _encoder_macs(size: ModelSize, embedded: int, tokens: int) -> int:
    blocks = size.depth * _block_macs(size.embed_dim, size.mlp_ratio, tokens, tokens)
    return embedded * size.patch_numbers * size.embed_dim + blocks


def _decoder_macs(size: ModelSize, visible: int, predicted: int) -> int:
    dim, tokens = size.decoder_embed_dim, 1 + size.num_patches
    blocks = (size.decoder_depth - 1) * _block_macs(dim, size.mlp_ratio, tokens, tokens)
    blocks += _block_macs(dim, size.mlp_ratio, tokens, predicted)
    return visible * size.embed_dim * dim + blocks + predicted * dim * size.patch_numbers


def _cross_decoder_macs(size: ModelSize, visible: int, queries: int) -> int:
    dim = size.decoder_embed_dim
    attention = 2 * queries * dim * dim + 2 * visible * size.embed_dim * dim + 2 * queries * visible * dim
    blocks = size.decoder_depth * (attention + 2 * queries * dim * int(dim * size.mlp_ratio))
    return blocks + queries * dim * size.patch_numbers
