"""Models: the masked autoencoder and the Vision Transformer it becomes."""

from mae_core.process import quiet_paddle  # noqa: F401 - first

# isort: split
from mae_core.models.encoder import ViTEncoder
from mae_core.models.mae import MaskedAutoencoderViT
from mae_core.models.presets import PRESETS, build_model
from mae_core.models.vit import VisionTransformer
from mae_core.ops.patches import IMAGENET_MEAN, IMAGENET_STD, pixel_statistics

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PRESETS",
    "MaskedAutoencoderViT",
    "ViTEncoder",
    "VisionTransformer",
    "build_model",
    "pixel_statistics",
]
