"""AdamW whose steps shrink from the encoder's last block down, with a weight decay of its own for the heads."""

from collections.abc import Sequence

from mae_core.training.optim import AdamW, decays, trainable
from mae_pretrain.refine.model import RefinedEncoder


def layer_of(name: str, depth: int) -> int:
    """Return a parameter's layer: 0 for what makes tokens, i + 1 for block i, depth + 1 for all after the blocks."""
    return 0
