"""What MAE pre-training and ViT fine-tuning share: pixels to tokens to encoded tokens.

The parameter names are the same in both, so weights move between them by name.
"""

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.distributed.fleet.utils import recompute

from mae_core.epsilons import LN_EPS
from mae_core.models.transformer import Block, PatchEmbed, sincos_pos_embed
from mae_core.ops import products
from mae_core.ops.layers import LayerNorm
from mae_core.ops.patches import Pixels, default_statistics, normalize_patches, pair
from mae_core.ops.reference import batch_size, take_rows


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


class ViTEncoder(nn.Layer):
    """Patch embedding, class token, positions, blocks and final norm.

    Args:
        img_size: height and width in pixels, or one number; divisible by patch_size.
        pixel_mean, pixel_std: per channel, in [0, 1], applied to images as stored; ImageNet's for 3 channels, else 0.5.
        value_range: the stored value that counts as 1 to those two: 255 for 8 bits, up to 65535 for 16; or (low, high)
            for float32, which counts as 0 and 1. Then float images, too, are as stored, [N, H, W, C].
        crop_pct: part of an image's shorter side that evaluation shows; None: as usual, by size.
        bands: the bands of an image file that are the channels, by number from 0 or by name; None: all.
        exif: whether photographs are turned as their EXIF tag says.
        nodata: what stands for no data in image files: a number, "nan", "file" for what each says; None: nothing.
        trainable_pos: learn the position embedding (fine-tuning) or keep it fixed (pre-training).

    Attributes:
        later_blocks: how many blocks more the encoder has that this is the beginning of; its weights fit without them.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    later_blocks = 0

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        value_range: float | Sequence[float] = 255,
        crop_pct: float | None = None,
        bands: Sequence[int | str] | None = None,
        exif: bool = True,
        nodata: float | str | None = None,
        trainable_pos: bool,
    ) -> None:
        super().__init__()
        self.img_size, self.patch_size, self.in_chans, self.embed_dim = (
            pair(img_size),
            patch_size,
            in_chans,
            embed_dim,
        )
        if any(side < patch_size or side % patch_size for side in self.img_size):
            raise ValueError(f"img_size={img_size} is not divisible by patch_size={patch_size}; use a multiple of it")
        self.grid = self.img_size[0] // patch_size, self.img_size[1] // patch_size
        self.num_patches = self.grid[0] * self.grid[1]
        self.grad_checkpointing = False
        # How image files become its input; they are read elsewhere.
        self.crop_pct, self.bands, self.exif = crop_pct, None if bands is None else tuple(bands), exif
        self.nodata = nodata
        self._set_value_range(value_range)
        self._set_pixel_statistics(pixel_mean, pixel_std)

        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim)
        self.cls_token = self.create_parameter([1, 1, embed_dim], default_initializer=nn.initializer.Normal(std=0.02))
        self.pos_embed = self._make_pos_embed(embed_dim, trainable_pos)
        rates = np.linspace(0.0, drop_path_rate, depth)  # stochastic depth grows linearly over the blocks
        self.blocks = nn.LayerList(
            [Block(embed_dim, num_heads, mlp_ratio, qkv_bias, drop_path=float(rate)) for rate in rates]
        )
        self.norm = LayerNorm(embed_dim, epsilon=LN_EPS)

    def _set_value_range(self, given: float | Sequence[float]) -> None:
        self.stored_floats = isinstance(given, list | tuple)
        low, high = tuple(given) if isinstance(given, list | tuple) else (0, given)
        if not low < high:
            raise ValueError(f"value_range={given} is neither a positive number nor (low, high)")
        self.value_low, self.value_span = float(low), float(high) - float(low)

    def _set_pixel_statistics(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        default_mean, default_std = default_statistics(self.in_chans)
        self.pixel_mean, self.pixel_std = tuple(mean or default_mean), tuple(std or default_std)
        if not len(self.pixel_mean) == len(self.pixel_std) == self.in_chans:
            raise ValueError(
                f"pixel_mean={mean} and pixel_std={std} need one number for each of {self.in_chans} channels"
            )
        scale = 1.0 / (self.value_span * np.asarray(self.pixel_std))
        shift = -(np.asarray(self.pixel_mean) + self.value_low / self.value_span) / np.asarray(self.pixel_std)
        for name, values in (("pixel_scale", scale), ("pixel_shift", shift)):
            self.register_buffer(name, paddle.to_tensor(values.astype(np.float32)), persistable=False)  # [C]

    def _make_pos_embed(self, dim: int, trainable: bool) -> Tensor:
        values = sincos_pos_embed(dim, self.grid)[None]  # [1, 1 + L, D]
        pos = self.create_parameter(values.shape, default_initializer=nn.initializer.Assign(values))
        pos.stop_gradient = not trainable
        return pos

    @property
    def value_range(self) -> int | float | tuple[float, float]:
        """The stored values that count as black and white, as the constructor takes them."""
        high = self.value_low + self.value_span
        return (self.value_low, high) if self.stored_floats else int(high) if high == int(high) else high

    @property
    def pixels(self) -> Pixels:
        """How this model cuts and normalises images."""
        return Pixels(
            self.patch_size, self.pixel_scale, self.pixel_shift, self.value_low, self.value_span, self.stored_floats
        )

    def check_images(self, images: Tensor) -> None:
        """Refuse images that are not [N, H, W, C] as stored or normalised [N, C, H, W], of the model's size."""
        if isinstance(images, np.ndarray | list | tuple):
            raise TypeError(f"images are a {type(images).__name__}, a tensor is needed: paddle.to_tensor(images)")
        order = (1, 2, 3) if self.pixels.are_stored(images) else (2, 3, 1)
        expected = (*self.img_size, self.in_chans)
        if images.ndim != 4 or tuple(images.shape[i] for i in order) != expected:
            raise ValueError(
                f"images have shape {list(images.shape)} ({images.dtype}); height, width, channels {expected}"
                " are needed, as stored [N, H, W, C]" + ("" if self.stored_floats else " or normalised [N, C, H, W]")
            )

    def patchify(self, images: Tensor) -> Tensor:
        """Cut images ([N, H, W, C] as stored or normalised [N, C, H, W]) into patches [N, L, p*p*C]."""
        self.check_images(images)
        return self.pixels.patchify(images)

    def normalize(self, patches: Tensor) -> Tensor:
        """Turn pixels as stored into normalised float32; others are normalised already."""
        return normalize_patches(patches, self.pixels)

    def encode(self, patches: Tensor, ids: Tensor | None = None) -> Tensor:
        """Encode normalised patches.

        Args:
            patches: [N, K, p*p*C].
            ids: int64 [N, K], where each patch stands; None means all L in image order.

        Returns:
            [N, 1 + K, D] after the blocks, before the final norm; the class token is first.
        """
        return self.run_blocks(self.blocks, self.embed(patches, ids))

    def embed(self, patches: Tensor, ids: Tensor | None = None) -> Tensor:
        """Turn normalised patches [N, K, p*p*C] into the tokens [N, 1 + K, D] that the first block sees."""
        pos = self.pos_embed[:, 1:]  # [1, L, D]
        if ids is not None:
            pos = take_rows(pos.expand([batch_size(ids), -1, -1]), ids)  # [N, K, D]
        x = self.patch_embed(patches) + pos
        cls = (self.cls_token + self.pos_embed[:, :1]).expand([batch_size(x), -1, -1])  # [N, 1, D]
        return paddle.concat([cls.astype(x.dtype), x], axis=1)

    def forward_intermediates(
        self, images: Tensor, blocks: Sequence[int] | None = None, norm: bool = True
    ) -> list[Tensor]:
        """Encode images to the tokens behind some blocks; those after the last one that is asked for do not run.

        The tokens are in image order, row by row on `self.grid`, the class token in front. With `norm` each block's
        tokens go through the last norm, as timm's `forward_intermediates(norm=True)` and DINOv2's
        `get_intermediate_layers` do; a classifier with global_pool has none.

        Args:
            images: [N, H, W, C] as stored or normalised [N, C, H, W].
            blocks: numbers from 0, or from the end if negative, in any order; None: all.
            norm: apply the last norm.

        Returns:
            [N, 1 + L, D] for each of `blocks`, in their order.

        Raises:
            ValueError: there is no such block.
        """
        depth = len(self.blocks)
        wanted = list(range(depth)) if blocks is None else list(blocks)
        if wrong := [block for block in wanted if not -depth <= block < depth]:
            raise ValueError(f"blocks {wrong} are not there; the encoder has {depth}, from 0 to {depth - 1}")
        numbers = [block % depth for block in wanted]
        embedded = self.embed(self.normalize(self.patchify(images)))
        each = zip(range(max(numbers, default=-1) + 1), self.block_outputs(self.blocks, embedded), strict=False)
        found = {number: self.norm(x) if norm else x for number, x in each if number in numbers}
        return [found[number] for number in numbers]

    def run_blocks(self, blocks: nn.LayerList, x: Tensor, first: int = 0) -> Tensor:
        """Apply blocks to [N, L, D]; the last one gives only the tokens behind the first `first` ones."""
        for output in self.block_outputs(blocks, x, first):
            x = output
        return x

    def block_outputs(self, blocks: nn.LayerList, x: Tensor, first: int = 0) -> Iterator[Tensor]:
        """Yield [N, L, D] behind each block; the last one gives only the tokens behind the first `first` ones.

        Activations are recomputed in the backward pass where `grad_checkpointing` is set.
        """
        for i, block in enumerate(blocks):
            skip = first if i == len(blocks) - 1 else 0
            # Recomputing gives a block no gradients where its input has none, behind frozen blocks.
            recomputes = self.grad_checkpointing and self.training and not x.stop_gradient
            x = recompute(products.carried(block), x, skip) if recomputes else block(x, skip)
            yield x
