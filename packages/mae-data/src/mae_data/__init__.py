"""The data path of masked autoencoders: image lists, transforms, samplers and the Paddle loader.

Public names are imported on first use, so that `import mae_data` needs neither Paddle nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_data.commands.demo_digits import make_demo_dataset as make_demo_dataset
    from mae_data.commands.subset import subset_of_list as subset_of_list
    from mae_data.errors import DataError as DataError
    from mae_data.errors import InputError as InputError
    from mae_data.images.formats import open_image as open_image
    from mae_data.images.stored import read_image as read_image
    from mae_data.images.value_range import Planes as Planes
    from mae_data.images.value_range import as_value_range as as_value_range
    from mae_data.loading.dataset import ListDataset as ListDataset
    from mae_data.loading.loader import make_loader as make_loader
    from mae_data.loading.preprocess import find_images as find_images
    from mae_data.loading.preprocess import preprocess as preprocess
    from mae_data.loading.sampler import EvalBatchSampler as EvalBatchSampler
    from mae_data.loading.sampler import TrainBatchSampler as TrainBatchSampler
    from mae_data.rng import sample_rng as sample_rng
    from mae_data.sources.image_list import ImageList as ImageList
    from mae_data.sources.image_list import read_list as read_list
    from mae_data.transforms.mix_on_device import (
        mix_images as mix_images,
    )
    from mae_data.transforms.mix_on_device import (
        normalize_images as normalize_images,
    )
    from mae_data.transforms.mix_on_device import (
        soft_targets as soft_targets,
    )
    from mae_data.transforms.mixup import Mixup as Mixup
    from mae_data.transforms.mixup import draw_mixture as draw_mixture
    from mae_data.transforms.mixup import mixing_rng as mixing_rng
    from mae_data.transforms.pipelines import (
        make_eval_transform as make_eval_transform,
    )
    from mae_data.transforms.pipelines import (
        make_finetune_transform as make_finetune_transform,
    )
    from mae_data.transforms.pipelines import (
        make_pretrain_transform as make_pretrain_transform,
    )
    from mae_data.transforms.pipelines import (
        make_probe_transform as make_probe_transform,
    )

__version__ = "0.1.0"

_MODULES = {
    "DataError": "errors",
    "EvalBatchSampler": "loading.sampler",
    "ImageList": "sources.image_list",
    "InputError": "errors",
    "ListDataset": "loading.dataset",
    "Mixup": "transforms.mixup",
    "Planes": "images.value_range",
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

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mae_data' has no attribute {name!r}")
    return getattr(import_module(f"mae_data.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
