"""What a model knows of itself that its arrays do not show."""

from typing import Any

from paddle import nn


def model_facts(model: nn.Layer) -> dict[str, Any]:
    """Return what a model knows of itself that its arrays do not show; {} for models of other kinds."""
    if not (hasattr(model, "patch_embed") and hasattr(model, "blocks")):
        return {}
    facts: dict[str, Any] = {name: getattr(model, name) for name in ("img_size", "patch_size", "in_chans")}
    facts |= {name: list(getattr(model, name)) for name in ("pixel_mean", "pixel_std")}
    if model.value_range != 255:
        facts["value_range"] = model.value_range
    facts |= {name: list(value) if name == "bands" else value for name, value in _of_images(model).items()}
    if names := getattr(model, "class_names", None):
        facts["class_names"] = list(names)
    facts["num_heads"] = model.blocks[0].attn.num_heads if len(model.blocks) else None
    if len(getattr(model, "decoder_blocks", ())):
        facts["decoder_num_heads"] = model.decoder_blocks[0].attn.num_heads
        facts["norm_pix_loss"] = model.norm_pix_loss
    return facts


def _of_images(model: Any) -> dict[str, Any]:
    """Return how image files become the model's input, as far as it is not the usual."""
    usual = {"crop_pct": None, "bands": None, "exif": True, "nodata": None}
    return {name: getattr(model, name) for name, value in usual.items() if getattr(model, name) != value}
