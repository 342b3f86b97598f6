"""Named models. Base, large and huge are the paper's (Table 8); tiny and small follow ViT's usual sizes."""

from typing import Any

from mae_core.models.mae import MaskedAutoencoderViT
from mae_core.models.vit import VisionTransformer

Model = MaskedAutoencoderViT | VisionTransformer

_SIZES: dict[str, dict[str, int]] = {
    "tiny_patch16": {"embed_dim": 192, "depth": 12, "num_heads": 3, "patch_size": 16},
    "small_patch16": {"embed_dim": 384, "depth": 12, "num_heads": 6, "patch_size": 16},
    "base_patch16": {"embed_dim": 768, "depth": 12, "num_heads": 12, "patch_size": 16},
    "large_patch16": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 16},
    "huge_patch14": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "patch_size": 14},
}
PRESETS: dict[str, tuple[type[Model], dict[str, int]]] = {
    f"{prefix}_{size}": (model, kwargs)
    for prefix, model in (("mae_vit", MaskedAutoencoderViT), ("vit", VisionTransformer))
    for size, kwargs in _SIZES.items()
}


def build_model(name: str, **overrides: Any) -> Model:
    """Build a preset.

    Args:
        name: `mae_vit_{tiny,small,base,large}_patch16`, `mae_vit_huge_patch14`, or the same with `vit_`.
        overrides: any argument of `MaskedAutoencoderViT` or `VisionTransformer`.

    Raises:
        ValueError: the name is not one of these.
    """
    if name not in PRESETS:
        raise ValueError(f"model {name!r} is not known; use one of {', '.join(sorted(PRESETS))}")
    model, kwargs = PRESETS[name]
    return model(**{**kwargs, **overrides})
