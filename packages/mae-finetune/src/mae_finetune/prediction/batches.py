"""Images that are in no list: read one by one, or as batches for a model, in this process or by workers."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
import paddle
from paddle import Tensor

from mae_data.errors import DataError
from mae_data.loading.bad_images import BadImages
from mae_data.loading.image_windows import ImagePaths
from mae_data.loading.loader import as_paddle_takes, make_loader
from mae_data.loading.preprocess import Images, ModelInput, OneImage, each_image
from mae_data.loading.sampler import EvalBatchSampler

ReadT = TypeVar("ReadT")


def read_each(
    images: Images, read: Callable[[OneImage], ReadT], bad: BadImages | None = None
) -> Iterator[tuple[str, ReadT]]:
    """Yield each image's name (its path, or its place in the input) and what `read` makes of it.

    Args:
        bad: counts images that cannot be read, which are left out; None ends at the first.
    """
    for place, image in enumerate(each_image(images)):
        try:
            found = read(image)
        except DataError as error:
            if bad is None:
                raise
            bad.add(place, error)
        else:
            yield str(image) if isinstance(image, str | os.PathLike) else f"image {place}", found


def image_batches(
    images: Images, given: ModelInput, batch_size: int, num_workers: int = 0, bad: BadImages | None = None
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield names and pixels [N, H, W, C] of one batch after the other.

    Args:
        given: how the model takes images.
        num_workers: processes that decode a list of paths ahead; other images are at hand and need none.
        bad: see `read_each`.
    """
    if num_workers and isinstance(images, list | tuple) and all(isinstance(i, str | os.PathLike) for i in images):
        yield from _loaded([str(image) for image in images], given, batch_size, num_workers, bad)
        return
    each = read_each(images, given.pixels, bad)
    while batch := list(islice(each, batch_size)):
        names, pixels = zip(*batch, strict=True)
        yield list(names), paddle.to_tensor(as_paddle_takes(np.stack(pixels)))


def _loaded(
    paths: list[str], given: ModelInput, batch_size: int, num_workers: int, bad: BadImages | None
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield the same from worker processes."""
    dataset = ImagePaths(paths, given, drops=bad is not None)
    for pixels, _, indices in make_loader(dataset, EvalBatchSampler(len(paths), batch_size), num_workers=num_workers):
        used = indices.numpy() >= 0
        for place in (~indices.numpy()[~used]).tolist():
            assert bad is not None
            bad.add(place, _why(given, paths[place]))
        if used.any():
            yield [paths[i] for i in indices.numpy()[used].tolist()], pixels[paddle.to_tensor(np.flatnonzero(used))]


def _why(given: ModelInput, path: str) -> DataError:
    """Return what is wrong with a file that a worker could not read."""
    try:
        given.pixels(path)
    except DataError as error:
        return error
    return DataError(f"{path}: could not be read a moment ago")
