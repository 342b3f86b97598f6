"""The model that weights belong to: read off their shapes, and from what a file says beside them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from mae_core.errors import CheckpointError

# Heads are in no shape. These are the published widths (paper, ViT; the decoder's 512 has 16).
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
_DECODER_HEADS = {512: 16}
FACTS = ("img_size", "patch_size", "in_chans", "num_heads", "decoder_num_heads", "norm_pix_loss")
# What our headers tell besides.
_STATISTICS = ("pixel_mean", "pixel_std")
_NAMES = "class_names"


@dataclass(frozen=True)
class Architecture:
    """Arguments of `MaskedAutoencoderViT` or `VisionTransformer`; None where neither shapes nor file tell."""

    img_size: tuple[int, int] | None
    patch_size: int | None
    in_chans: int | None
    embed_dim: int
    depth: int
    num_heads: int | None
    mlp_ratio: float
    qkv_bias: bool
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


def architecture_of(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Architecture:
    """Derive the architecture.

    Args:
        arrays: by our names and in our shapes.
        facts: any of FACTS that the file or the user told.

    Raises:
        CheckpointError: these are not the arrays of one of our models.
    """
    try:
        dim = int(arrays["cls_token"].shape[-1])
        pixels = int(arrays["patch_embed.proj.weight"].shape[0])
        hidden = int(arrays["blocks.0.mlp.fc1.bias"].shape[0])
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"these are no weights of a ViT with a class token ({error} is not usable)") from None
    patch, chans = _patch(pixels, facts.get("patch_size"), facts.get("in_chans"))
    decoder_dim = int(arrays["mask_token"].shape[-1]) if "mask_token" in arrays else None
    head = next((arrays[name] for name in ("head.weight", "head.1.weight") if name in arrays), None)
    model = Architecture(
        img_size=_image(arrays, patch, facts.get("img_size")),
        patch_size=patch,
        in_chans=chans,
        embed_dim=dim,
        depth=_depth(arrays, "blocks"),
        num_heads=facts.get("num_heads") or _HEADS.get(dim),
        mlp_ratio=hidden / dim,
        qkv_bias="blocks.0.attn.qkv.bias" in arrays,
        decoder_embed_dim=decoder_dim,
        decoder_depth=_depth(arrays, "decoder_blocks") if decoder_dim else None,
        decoder_num_heads=(facts.get("decoder_num_heads") or _DECODER_HEADS.get(decoder_dim)) if decoder_dim else None,
        norm_pix_loss=facts.get("norm_pix_loss") if decoder_dim else None,
        num_classes=None if head is None else int(head.shape[-1]),
        global_pool=None if decoder_dim else "fc_norm.weight" in arrays,
        **_told(facts, chans, None if head is None else int(head.shape[-1])),
    )
    _check_heads("num_heads", model.num_heads, dim)
    _check_heads("decoder_num_heads", model.decoder_num_heads, decoder_dim or 0)
    return _check_positions(arrays, model)


def _told(facts: Mapping[str, Any], chans: int | None, num_classes: int | None) -> dict[str, Any]:
    """Return what a header tells, as far as it is of this model: a head may have been cut off or replaced."""
    sizes = {**dict.fromkeys(_STATISTICS, chans), _NAMES: num_classes}
    told = {key: tuple(facts[key]) for key, size in sizes.items() if key in facts and len(facts[key]) == size}
    if len(facts.get("bands", ())) == chans:
        told["bands"] = tuple(facts["bands"])
    return told | {key: facts[key] for key in ("value_range", "crop_pct", "exif", "nodata") if key in facts}


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


def _image(arrays: Mapping[str, NDArray[Any]], patch: int | None, told: Any) -> tuple[int, int] | None:
    if told is not None:
        return (told, told) if isinstance(told, int) else (int(told[0]), int(told[1]))
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


def facts_from_json(text: str | None) -> dict[str, Any]:
    """Read FACTS from the header of one of our files."""
    if not text:
        return {}
    try:
        facts = json.loads(text)
        known = checked_facts({key: facts[key] for key in FACTS if facts.get(key) is not None})
        known |= {key: facts[key] for key, kind in _LISTS.items() if _is_list(facts.get(key), kind)}
        return known | _value_range(facts.get("value_range")) | _of_images(facts)
    except (ValueError, AttributeError, RecursionError):
        raise CheckpointError("the header's architecture is not readable") from None


_LISTS: dict[str, type] = {**dict.fromkeys(_STATISTICS, float), _NAMES: str}


def _value_range(value: Any) -> dict[str, Any]:
    """Return the range of stored pixel values where a header tells one that can be."""
    if isinstance(value, list) and len(value) == 2 and all(type(end) is float for end in value) and value[0] < value[1]:
        return {"value_range": (value[0], value[1])}
    return {"value_range": value} if type(value) is int and value > 0 else {}


def _of_images(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how images are read, where a header tells it in a way that can be."""
    crop_pct, bands, exif = (facts.get(key) for key in ("crop_pct", "bands", "exif"))
    told: dict[str, Any] = {"crop_pct": crop_pct} if isinstance(crop_pct, int | float) and 0 < crop_pct <= 1 else {}
    if isinstance(bands, list) and all((type(b) is int and b >= 0) or (isinstance(b, str) and b) for b in bands):
        told["bands"] = bands
    nodata = facts.get("nodata")
    told |= {"nodata": nodata} if nodata in ("nan", "file") or type(nodata) in (int, float) else {}
    return told | ({"exif": exif} if isinstance(exif, bool) else {})


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def checked_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts from a file or a user, sizes as positive integers.

    Raises:
        CheckpointError: a value is of the wrong kind.
    """
    for key, value in facts.items():
        if key == "norm_pix_loss":
            good = isinstance(value, bool)
        else:
            pair = key == "img_size" and isinstance(value, (list, tuple)) and len(value) == 2
            good = all(type(number) is int and number > 0 for number in (value if pair else [value]))
        if not good:
            raise CheckpointError(f"{key}={value!r:.60} is not usable; sizes and counts are positive integers")
    return facts
