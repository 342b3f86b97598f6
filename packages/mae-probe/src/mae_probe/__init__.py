"""Linear probing, features, kNN and attention maps of masked autoencoders on PaddlePaddle.

Public names are imported on first use, so that `import mae_probe` does not need Paddle.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_probe.api import probe
    from mae_probe.attention.pictures import AttentionMaps, attention_maps
    from mae_probe.extraction.image_features import features
    from mae_probe.nearest import knn_top1

__version__ = "0.1.0"
_HOMES = {
    "AttentionMaps": "attention.pictures",
    "attention_maps": "attention.pictures",
    "features": "extraction.image_features",
    "knn_top1": "nearest",
    "probe": "api",
}
__all__ = ["AttentionMaps", "__version__", "attention_maps", "features", "knn_top1", "probe"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mae_probe' has no attribute {name!r}")
    from mae_core.process.runtime import import_paddle  # and the runtime is prepared before

    import_paddle()
    return getattr(import_module(f"mae_probe.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
