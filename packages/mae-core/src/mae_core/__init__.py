"""Masked autoencoders (He et al., arXiv 2111.06377) on PaddlePaddle.

Importing this module prepares the CPU runtime (see `mae_core.process.runtime`). Paddle is imported when a name that
needs it is used; where it is not installed, the error names what to install.
"""

from typing import TYPE_CHECKING, Any

from mae_core.process import runtime

if TYPE_CHECKING:
    from mae_core.models import (
        PRESETS as PRESETS,
    )
    from mae_core.models import (
        MaskedAutoencoderViT as MaskedAutoencoderViT,
    )
    from mae_core.models import (
        VisionTransformer as VisionTransformer,
    )
    from mae_core.models import (
        build_model as build_model,
    )
    from mae_core.ops import MaskKey as MaskKey
    from mae_core.stage.saved_model import load as load
    from mae_core.weights.load import load_model as load_model
    from mae_core.weights.load import load_pretrained as load_pretrained

__version__ = "0.1.0"
_MODULES = {
    "PRESETS": "models",
    "MaskKey": "ops",
    "MaskedAutoencoderViT": "models",
    "VisionTransformer": "models",
    "build_model": "models",
    "load": "stage.saved_model",
    "load_model": "weights.load",
    "load_pretrained": "weights.load",
}
__all__ = ["__version__", *_MODULES]

runtime.configure()


def __getattr__(name: str) -> Any:
    return runtime.public_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
