"""Named models. Base, large and huge are the paper's (Table 8); tiny and small follow ViT's usual sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from mae_core.model_sizes import SIZES, preset_sizes
from mae_core.models.mae import AutoencoderOptions, MaskedAutoencoderViT
from mae_core.models.vit import ClassifierOptions, VisionTransformer

if TYPE_CHECKING:
    from typing_extensions import Unpack

AutoencoderName = Literal[
    "mae_vit_tiny_patch16", "mae_vit_small_patch16", "mae_vit_base_patch16", "mae_vit_large_patch16",
    "mae_vit_huge_patch14",
]  # fmt: skip
ClassifierName = Literal[
    "vit_tiny_patch16", "vit_small_patch16", "vit_base_patch16", "vit_large_patch16", "vit_huge_patch14"
]

Model = MaskedAutoencoderViT | VisionTransformer

PRESETS: dict[str, tuple[type[Model], dict[str, int]]] = {
    f"{prefix}_{size}": (model, kwargs)
    for prefix, model in (("mae_vit", MaskedAutoencoderViT), ("vit", VisionTransformer))
    for size, kwargs in SIZES.items()
}


@overload
def build_model(name: AutoencoderName, **overrides: Unpack[AutoencoderOptions]) -> MaskedAutoencoderViT: ...
@overload
def build_model(name: ClassifierName, **overrides: Unpack[ClassifierOptions]) -> VisionTransformer: ...
def build_model(name: str, **overrides: Any) -> Model:
    """Build a preset.

    Args:
        name: `mae_vit_{tiny,small,base,large}_patch16`, `mae_vit_huge_patch14`, or the same with `vit_`.
        overrides: any argument of `MaskedAutoencoderViT` or `VisionTransformer`.

    Raises:
        ValueError: the name is not one of these.

    Examples:
        >>> model = build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)
        >>> model.grid
        (2, 2)
        >>> build_model("vit_tiny_patch16", img_size=32, depth=1, num_classes=10).num_classes
        10
    """
    sizes = preset_sizes(name)
    built: MaskedAutoencoderViT | VisionTransformer = PRESETS[name][0](**{**sizes, **overrides})
    return built
