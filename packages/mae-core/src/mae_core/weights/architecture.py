"""The model that weights belong to: read off their shapes and the metadata of their file."""

import math
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from mae_core.errors import CheckpointError
from mae_core.weights.metadata import Metadata

# Heads are in no shape. These are the published widths (paper, ViT; the decoder's 512 has 16).
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
_DECODER_HEADS = {512: 16}
_PIXEL_CLASSIFIER = "classifier.weight"  # of a segmentation head: a convolution [K, channels, 1, 1]


@dataclass(frozen=True)
class Architecture:
    """Arguments of `MaskedAutoencoderViT` or `VisionTransformer`; None where neither shapes nor metadata show them."""

    img_size: tuple[int, int] | None
    patch_size: int | None
    in_chans: int | None
    embed_dim: int
    depth: int
    num_heads: int | None
    mlp_ratio: float
    qkv_bias: bool
    decoder_kind: str | None = None
    decoder_embed_dim: int | None = None
    decoder_depth: int | None = None
    decoder_num_heads: int | None = None
    norm_pix_loss: bool | None = None
    num_classes: int | None = None
    global_pool: bool | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    value_range: int | float | tuple[float, float] | None = None
    crop_pct: float | None = None
    bands: tuple[int | str, ...] | None = None
    exif: bool | None = None
    nodata: float | str | None = None

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of patches."""
        if self.img_size is None or self.patch_size is None:
            return None
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    def known(self) -> dict[str, Any]:
        """Return what is known, by argument name."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def architecture_of(arrays: Mapping[str, NDArray[Any]], metadata: Metadata) -> Architecture:
    """Derive the architecture.

    Args:
        arrays: by our names and in our shapes.
        metadata: of the file, and what the user states.

    Raises:
        CheckpointError: these are not the arrays of one of our models.
    """
    try:
        dim = int(arrays["cls_token"].shape[-1])
        pixels = int(arrays["patch_embed.proj.weight"].shape[0])
        hidden = int(arrays["blocks.0.mlp.fc1.bias"].shape[0])
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"these are no weights of a ViT with a class token ({error} is not usable)") from None
    patch, chans = _patch(pixels, metadata.patch_size, metadata.in_chans)
    decoder_dim = int(arrays["mask_token"].shape[-1]) if "mask_token" in arrays else None
    head = next((arrays[name] for name in ("head.weight", "head.1.weight") if name in arrays), None)
    num_classes = None if head is None else int(head.shape[-1])
    of_pixels = [array for name, array in arrays.items() if name.endswith(_PIXEL_CLASSIFIER)]
    fitting = metadata.fitting(chans, int(of_pixels[0].shape[0]) if of_pixels else num_classes)
    model = Architecture(
        img_size=metadata.img_size or _square_image(arrays, patch),
        patch_size=patch,
        in_chans=chans,
        embed_dim=dim,
        depth=_depth(arrays, "blocks"),
        num_heads=metadata.num_heads or _HEADS.get(dim),
        mlp_ratio=hidden / dim,
        qkv_bias="blocks.0.attn.qkv.bias" in arrays,
        decoder_kind=decoder_kind_of(arrays),
        decoder_embed_dim=decoder_dim,
        decoder_depth=_depth(arrays, "decoder_blocks") if decoder_dim else None,
        decoder_num_heads=(metadata.decoder_num_heads or _DECODER_HEADS.get(decoder_dim)) if decoder_dim else None,
        norm_pix_loss=metadata.norm_pix_loss if decoder_dim else None,
        num_classes=num_classes,
        global_pool=None if decoder_dim else "fc_norm.weight" in arrays,
        pixel_mean=fitting.pixel_mean,
        pixel_std=fitting.pixel_std,
        class_names=fitting.class_names,
        value_range=fitting.value_range,
        crop_pct=fitting.crop_pct,
        bands=fitting.bands,
        exif=fitting.exif,
        nodata=fitting.nodata,
    )
    _check_heads("num_heads", model.num_heads, dim)
    _check_heads("decoder_num_heads", model.decoder_num_heads, decoder_dim or 0)
    return _check_positions(arrays, model)


def decoder_kind_of(names: Container[str]) -> str | None:
    """Tell a decoder's kind by the names of its arrays; None where there is no decoder."""
    return "cross" if "decoder_mixtures.weight" in names else "full" if "mask_token" in names else None


def _check_heads(name: str, heads: int | None, dim: int) -> None:
    if heads and dim % heads:
        raise CheckpointError(f"{name}={heads} does not divide the width {dim}")


def _depth(arrays: Mapping[str, Any], root: str) -> int:
    return len({name.split(".")[1] for name in arrays if name.startswith(f"{root}.")})


def _patch(pixels: int, patch: int | None, chans: int | None) -> tuple[int | None, int | None]:
    """Complete p and C of p*p*C = pixels; where neither is known, three colours, then one, if the rest is a square."""
    if patch:
        if pixels != patch**2 * (chans or pixels // patch**2):
            raise CheckpointError(
                f"patch_size={patch}{f' and in_chans={chans}' if chans else ''} do not make the {pixels} numbers that"
                " a patch of these weights has"
            )
        return patch, pixels // patch**2
    for count in (chans,) if chans else (3, 1):
        side = math.isqrt(pixels // count)
        if side * side * count == pixels:
            return side, count
    return None, chans


def _square_image(arrays: Mapping[str, NDArray[Any]], patch: int | None) -> tuple[int, int] | None:
    """Return the image size of as many positions as a square has; None where they are not known, or no square."""
    positions = arrays["pos_embed"].shape[1] - 1 if "pos_embed" in arrays else 0
    side = math.isqrt(positions)
    return (side * patch, side * patch) if patch and positions and side * side == positions else None


def _check_positions(arrays: Mapping[str, NDArray[Any]], model: Architecture) -> Architecture:
    positions = arrays["pos_embed"].shape[1] - 1 if "pos_embed" in arrays else None
    if positions is not None and model.grid and model.grid[0] * model.grid[1] != positions:
        raise CheckpointError(
            f"img_size={model.img_size} and patch_size={model.patch_size} make {model.grid[0]}x{model.grid[1]} patches;"
            f" there are positions for {positions}"
        )
    return model
