"""The published sizes of Vision Transformers, and what a network is called by its sizes. Needs no Paddle."""

from collections.abc import Sequence

SIZES: dict[str, dict[str, int]] = {
    "tiny_patch16": {"embed_dim": 192, "depth": 12, "num_heads": 3, "patch_size": 16},
    "small_patch16": {"embed_dim": 384, "depth": 12, "num_heads": 6, "patch_size": 16},
    "base_patch16": {"embed_dim": 768, "depth": 12, "num_heads": 12, "patch_size": 16},
    "large_patch16": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 16},
    "huge_patch14": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "patch_size": 14},
}
PRESET_NAMES = tuple(f"{prefix}_{size}" for prefix in ("mae_vit", "vit") for size in SIZES)


def preset_sizes(name: str) -> dict[str, int]:
    """Return the sizes of a preset as the models' arguments.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESET_NAMES:
        raise ValueError(f"model {name!r} is not known; use one of {', '.join(sorted(PRESET_NAMES))}")
    return SIZES[name.removeprefix("mae_").removeprefix("vit_")]


def network_name(
    embed_dim: int,
    depth: int,
    num_heads: int,
    patch_size: int,
    img_size: int | Sequence[int],
    mlp_ratio: float = 4.0,
    qkv_bias: bool = True,
) -> str:
    """Return what a network is called: `vit_base_patch16_224`, or its sizes where nobody published such a one.

    Args:
        img_size: pixels, one number, or height and width.

    Examples:
        >>> network_name(192, 12, 3, 8, 96)
        'vit_tiny_patch8_96'
        >>> network_name(32, 2, 4, 4, (16, 24))
        'vit_width32_depth2_heads4_patch4_16x24'
    """
    sizes = {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}
    known = [name.partition("_")[0] for name, published in SIZES.items() if sizes.items() <= published.items()]
    mlp, bias = "" if mlp_ratio == 4.0 else f"_mlp{mlp_ratio:g}", "" if qkv_bias else "_nobias"
    encoder = f"width{embed_dim}_depth{depth}_heads{num_heads}{mlp}{bias}"
    if known and not (mlp or bias):
        encoder = known[0]
    image = "x".join(map(str, img_size)) if isinstance(img_size, Sequence) else img_size
    return f"vit_{encoder}_patch{patch_size}_{image}"
