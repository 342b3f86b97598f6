"""Partial fine-tuning: train the last blocks only (paper Figure 9)."""

from paddle import nn

_AFTER_BLOCKS = ("norm.", "fc_norm.", "head.")
_MLP_SUB_BLOCK = ("norm2.", "mlp.")


def is_tuned(name: str, depth: int, blocks: float) -> bool:
    """Return whether a parameter is trained.

    Args:
        name: structured name.
        depth: number of blocks of the model.
        blocks: how many of the last blocks are trained; 0.5 is the MLP sub-block of the last one, 0 the head alone.
    """
    if name.startswith(_AFTER_BLOCKS):
        return True
    if not name.startswith("blocks."):
        return False
    _, index, inside = name.split(".", 2)
    if blocks == 0.5:
        return int(index) == depth - 1 and inside.startswith(_MLP_SUB_BLOCK)
    return int(index) >= depth - blocks


def freeze_below(model: nn.Layer, blocks: float) -> None:
    """Stop the gradients of all parameters that are not trained; see `is_tuned`."""
    for name, parameter in model.named_parameters():
        if not is_tuned(name, len(model.blocks), blocks):
            parameter.stop_gradient = True
