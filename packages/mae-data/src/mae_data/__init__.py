"""The data path of masked autoencoders: image lists, transforms, samplers and the Paddle loader.

Public names are imported on first use, so that `import mae_data` needs neither Paddle nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_data.dataset import ListDataset
    from mae_data.demo_digits import make_demo_dataset
    from mae_data.errors import DataError, InputError
    from mae_data.image_file import open_image
    from mae_data.image_list import ImageList, read_list
    from mae_data.loader import make_loader
    from mae_data.mixed_batch import mix_images, normalize_images, soft_targets
    from mae_data.mixup import Mixup, draw_mixture, mixing_rng
    from mae_data.model_input import find_images, preprocess
    from mae_data.planes import Planes
    from mae_data.random_streams import sample_rng
    from mae_data.sampler import EvalBatchSampler, TrainBatchSampler
    from mae_data.stored_image import read_image
    from mae_data.subset import subset_of_list
    from mae_data.transforms import (
        make_eval_transform,
        make_finetune_transform,
        make_pretrain_transform,
        make_probe_transform,
    )
    from mae_data.value_range import as_value_range

__version__ = "0.1.0"

_MODULE_OF = {
    "DataError": "errors",
    "EvalBatchSampler": "sampler",
    "ImageList": "image_list",
    "InputError": "errors",
    "ListDataset": "dataset",
    "Mixup": "mixup",
    "Planes": "planes",
    "TrainBatchSampler": "sampler",
    "as_value_range": "value_range",
    "draw_mixture": "mixup",
    "find_images": "model_input",
    "make_demo_dataset": "demo_digits",
    "make_eval_transform": "transforms",
    "make_finetune_transform": "transforms",
    "make_loader": "loader",
    "make_pretrain_transform": "transforms",
    "make_probe_transform": "transforms",
    "mix_images": "mixed_batch",
    "mixing_rng": "mixup",
    "normalize_images": "mixed_batch",
    "open_image": "image_file",
    "preprocess": "model_input",
    "read_image": "stored_image",
    "read_list": "image_list",
    "sample_rng": "random_streams",
    "soft_targets": "mixed_batch",
    "subset_of_list": "subset",
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
