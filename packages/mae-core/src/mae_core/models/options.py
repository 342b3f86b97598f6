"""The arguments of the models, as type checkers see them where they are handed on."""

from collections.abc import Sequence
from typing import TypedDict


class EncoderOptions(TypedDict, total=False):
    """Arguments of `ViTEncoder` that both models take."""

    img_size: int | tuple[int, int]
    patch_size: int
    in_chans: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    qkv_bias: bool
    drop_path_rate: float
    pixel_mean: Sequence[float] | None
    pixel_std: Sequence[float] | None
    value_range: float | Sequence[float]
    crop_pct: float | None
    bands: Sequence[int | str] | None
    exif: bool
    nodata: float | str | None


class AutoencoderOptions(EncoderOptions, total=False):
    """Arguments of `MaskedAutoencoderViT`."""

    decoder_embed_dim: int
    decoder_depth: int
    decoder_num_heads: int
    norm_pix_loss: bool


class ClassifierOptions(EncoderOptions, total=False):
    """Arguments of `VisionTransformer`."""

    num_classes: int
    global_pool: bool
    head_init_std: float
    class_names: Sequence[str] | None
