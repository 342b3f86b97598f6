"""The data path of masked autoencoders: image lists, transforms, samplers and the Paddle loader.

Public names are imported on first use, so that `import mae_data` needs neither Paddle nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_data.commands.demo_digits import make_demo_dataset
    from mae_data.commands.subset import subset_of_list
    from mae_data.errors import DataError, InputError
    from mae_data.images.formats import open_image
    from mae_data.images.multiband import Planes
    from mae_data.images.stored import read_image
    from mae_data.images.value_range import as_value_range
    from mae_data.loading.dataset import ListDataset
    from mae_data.loading.loader import make_loader
    from mae_data.loading.preprocess import find_images, preprocess
    from mae_data.loading.sampler import EvalBatchSampler, TrainBatchSampler
    from mae_data.rng import sample_rng
    from mae_data.sources.image_list import ImageList, read_list
    from mae_data.transforms.mix_on_device import mix_images, normalize_images, soft_targets
    from mae_data.transforms.mixup import Mixup, draw_mixture, mixing_rng
    from mae_data.transforms.pipelines import (
        make_eval_transform,
        make_finetune_transform,
        make_pretrain_transform,
        make_probe_transform,
    )

__version__ = "0.1.0"

_MODULE_OF = {
    "DataError": "errors",
    "EvalBatchSampler": "loading.sampler",
    "ImageList": "sources.image_list",
    "InputError": "errors",
    "ListDataset": "loading.dataset",
    "Mixup": "transforms.mixup",
    "Planes": "images.multiband",
    "TrainBatchSampler": "loading.sampler",
    "as_value_range": "images.value_range",
    "draw_mixture": "transforms.mixup",
    "find_images": "loading.preprocess",
    "make_demo_dataset": "commands.demo_digits",
    "make_eval_transform": "transforms.pipelines",
    "make_finetune_transform": "transforms.pipelines",
    "make_loader": "loading.loader",
    "make_pretrain_transform": "transforms.pipelines",
    "make_probe_transform": "transforms.pipelines",
    "mix_images": "transforms.mix_on_device",
    "mixing_rng": "transforms.mixup",
    "normalize_images": "transforms.mix_on_device",
    "open_image": "images.formats",
    "preprocess": "loading.preprocess",
    "read_image": "images.stored",
    "read_list": "sources.image_list",
    "sample_rng": "rng",
    "soft_targets": "transforms.mix_on_device",
    "subset_of_list": "commands.subset",
}

__all__ = [
    "DataError",
    "EvalBatchSampler",
    "ImageList",
    "InputError",
    "ListDataset",
    "Mixup",
    "Planes",
    "TrainBatchSampler",
    "as_value_range",
    "draw_mixture",
    "find_images",
    "make_demo_dataset",
    "make_eval_transform",
    "make_finetune_transform",
    "make_loader",
    "make_pretrain_transform",
    "make_probe_transform",
    "mix_images",
    "mixing_rng",
    "normalize_images",
    "open_image",
    "preprocess",
    "read_image",
    "read_list",
    "sample_rng",
    "soft_targets",
    "subset_of_list",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mae_data' has no attribute {name!r}")
    return getattr(import_module(f"mae_data.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
