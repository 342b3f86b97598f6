"""Layer-wise learning-rate decay: the lower a layer, the smaller its steps (paper Table 9, as in BEiT)."""

from paddle import Tensor, nn

from mae_core.training.optim import decays as decays_in_pretraining

_POSITIONS = ("cls_token", "pos_embed")


def layer_id(name: str, depth: int) -> int:
    """Return a parameter's layer: 0 for what makes tokens, i + 1 for block i, depth + 1 for all after the blocks.

    Args:
        name: structured name, such as "blocks.3.attn.qkv.weight".
        depth: number of blocks.
    """
    if name in _POSITIONS or name.startswith("patch_embed."):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def layer_scales(model: nn.Layer, layer_decay: float) -> dict[str, float]:
    """Return each parameter's share of the learning rate, layer_decay ** (depth + 1 - layer), by structured name."""
    depth = len(model.blocks)
    return {name: layer_decay ** (depth + 1 - layer_id(name, depth)) for name, _ in model.named_parameters()}


def decays(name: str, parameter: Tensor) -> bool:
    """Decay everything but biases, 1-D parameters, the class token and the position embedding (fine-tuning)."""
    return name not in _POSITIONS and decays_in_pretraining(name, parameter)
