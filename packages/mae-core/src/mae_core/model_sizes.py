"""The published sizes of Vision Transformers, and what a network is called by its sizes. Needs no Paddle."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Network:
    """The sizes that a name is made of, those of images in pixels: one number, or height and width."""

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int
    img_size: int | Sequence[int]
    mlp_ratio: float = 4.0
    qkv_bias: bool = True

    @property
    def name(self) -> str:
        """`vit_base_patch16_224`, or the sizes in numbers where nobody published such a network.

        Examples:
            >>> Network(192, 12, 3, 8, 96).name
            'vit_tiny_patch8_96'
            >>> Network(32, 2, 4, 4, (16, 24)).name
            'vit_width32_depth2_heads4_patch4_16x24'
        """
        image = "x".join(map(str, self.img_size)) if isinstance(self.img_size, Sequence) else str(self.img_size)
        return f"vit_{self._encoder}_patch{self.patch_size}_{image}"

    @property
    def _encoder(self) -> str:
        sizes = {"embed_dim": self.embed_dim, "depth": self.depth, "num_heads": self.num_heads}
        if (self.mlp_ratio, self.qkv_bias) == (4.0, True):
            for name, published in SIZES.items():
                if sizes.items() <= published.items():
                    return name.partition("_")[0]
        mlp = "" if self.mlp_ratio == 4.0 else f"_mlp{self.mlp_ratio:g}"
        bias = "" if self.qkv_bias else "_nobias"
        return f"width{self.embed_dim}_depth{self.depth}_heads{self.num_heads}{mlp}{bias}"
