"""Masked autoencoders (He et al., arXiv 2111.06377) on PaddlePaddle.

Importing this module prepares the CPU runtime (see `mae_core.process.runtime`). Paddle is imported when a name that needs it
is used; where it is not installed, that name says what to install.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mae_core.process import runtime

if TYPE_CHECKING:
    from mae_core.models import PRESETS, MaskedAutoencoderViT, VisionTransformer, build_model
    from mae_core.ops import MaskKey
    from mae_core.stage.saved_model import load
    from mae_core.weights.load import load_model, load_pretrained

__version__ = "0.1.0"
_HOMES = {
    "PRESETS": "mae_core.models",
    "MaskKey": "mae_core.ops",
    "MaskedAutoencoderViT": "mae_core.models",
    "VisionTransformer": "mae_core.models",
    "build_model": "mae_core.models",
    "load": "mae_core.stage.saved_model",
    "load_model": "mae_core.weights.load",
    "load_pretrained": "mae_core.weights.load",
}
__all__ = [
    "PRESETS",
    "MaskKey",
    "MaskedAutoencoderViT",
    "VisionTransformer",
    "__version__",
    "build_model",
    "load",
    "load_model",
    "load_pretrained",
]

runtime.configure()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mae_core' has no attribute {name!r}")
    runtime.import_paddle()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
