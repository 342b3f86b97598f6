"""Masked autoencoders (He et al., arXiv 2111.06377) on PaddlePaddle.

Importing this module prepares the CPU runtime (see `mae_core.runtime`) and checks that Paddle is
installed; Paddle itself is imported only when a name that needs it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mae_core import runtime

if TYPE_CHECKING:
    from mae_core.models import MaskedAutoencoderViT, VisionTransformer, build_model
    from mae_core.weights.load import load_pretrained

__version__ = "0.1.0"
__all__ = ["MaskedAutoencoderViT", "VisionTransformer", "__version__", "build_model", "load_pretrained"]

if not runtime.serves_command("mae-core"):  # which converts weights without Paddle
    runtime.require_paddle()
runtime.configure()


def __getattr__(name: str) -> Any:
    if name == "load_pretrained":
        return import_module("mae_core.weights.load").load_pretrained
    if name in __all__:
        return getattr(import_module("mae_core.models"), name)
    raise AttributeError(f"module 'mae_core' has no attribute {name!r}")
