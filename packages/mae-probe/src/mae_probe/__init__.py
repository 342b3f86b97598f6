"""Linear probing, features, kNN, attention and maps of images with masked autoencoders on PaddlePaddle.

Public names are imported on first use, so that `import mae_probe` does not need Paddle.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_probe.api import probe as probe
    from mae_probe.attention import AttentionMaps as AttentionMaps
    from mae_probe.attention import attention_maps as attention_maps
    from mae_probe.classifiers import knn_top1 as knn_top1
    from mae_probe.extraction.image_features import features as features
    from mae_probe.mapping.draw import image_map as image_map
    from mae_probe.mapping.embedding_map import EmbeddingMap as EmbeddingMap

__version__ = "0.1.0"
_MODULES = {
    "AttentionMaps": "attention",
    "EmbeddingMap": "mapping.embedding_map",
    "attention_maps": "attention",
    "features": "extraction.image_features",
    "image_map": "mapping.draw",
    "knn_top1": "classifiers",
    "probe": "api",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    from mae_core.process import runtime  # which prepares what Paddle reads at its import

    return runtime.public_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
