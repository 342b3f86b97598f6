"""What the images of a data set hold, where nobody states it: that of most of some."""

from collections import Counter
from typing import BinaryIO

import numpy as np

from mae_data.errors import DataError, ImageError
from mae_data.images.scene import inspect_scene
from mae_data.images.stored import Stored, inspect_image
from mae_data.parallel import map_images
from mae_data.sources.source import Source

LOOKED = 32


def usual_kind(images: Source, verify: str) -> Stored:
    """Return what most of some images hold, evenly spread over a list.

    Args:
        images: the list.
        verify: the command that finds all bad images.

    Raises:
        DataError: none of them can be read.
    """
    places = np.unique(np.linspace(0, len(images) - 1, LOOKED).astype(int)).tolist()
    found = list(map_images(_inspect, images, 1, places))
    if kinds := Counter(kind for kind in found if isinstance(kind, Stored)):
        return kinds.most_common(1)[0][0]
    first = next(fault for fault in found if isinstance(fault, DataError))
    raise DataError(
        f"none of the {len(places)} images looked at can be read, such as {named_fault(images, places[0], first)};"
        f" `{verify}` lists all such images"
    )


def _inspect(file: BinaryIO | bytes) -> Stored:
    return inspect_scene(file) if isinstance(file, bytes) else inspect_image(file)


def named_fault(images: Source, place: int, error: DataError) -> DataError:
    """Return the error about an image with its line and path before it."""
    reason = error.reason if isinstance(error, ImageError) else str(error)
    return DataError(f"{images.describe(place)}: {reason}")
