"""Images of any kind as the pixels that a model is evaluated on; needs Pillow and NumPy alone."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError, InputError
from mae_data.images.formats import EXTENSIONS, convert_image
from mae_data.images.multiband import Planes
from mae_data.images.stored import check_pixels, read_image
from mae_data.images.value_range import EIGHT_BITS, ValueRange, as_value_range
from mae_data.sources.folder_scan import scan_folder
from mae_data.transforms.pipelines import Picture, Size, make_eval_transform

OneImage: TypeAlias = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
Images: TypeAlias = OneImage | Iterable[OneImage]


def preprocess(
    images: Images,
    size: int | Size,
    crop_pct: float | None = None,
    *,
    channels: int = 3,
    value_range: float | Sequence[float] = 255,
) -> npt.NDArray[Any]:
    """Turn images into a batch as evaluation does: resize the shorter side, crop the centre.

    This is all that an exported model needs before it: normalisation is in the graph.

    Args:
        images: One image or several: a path, a PIL image, or an array [H, W] or [H, W, C]; an array [N, H, W, C] is N
            of them. 8-bit images of 1 or 3 channels become what is asked for.
        size: Side of the square result, or (height, width), in pixels.
        crop_pct: Part of the shorter side that the crop shows; by default 0.875 up to 224 pixels and 1.0 above.
        channels: 3 for RGB, 1 for grey, or as many as all images have.
        value_range: The value of white, 255 for 8 bits, above for 16; or [low, high] of floats.

    Returns:
        [N, H, W, C] without a gap in memory: uint8, or the type of another value range.

    Raises:
        DataError: A file cannot be read, or is not a usable image.
        InputError: Something is none of these, or there is no image.

    Examples:
        >>> import numpy as np
        >>> photo = np.zeros((480, 640, 3), np.uint8)
        >>> preprocess(photo, 224).shape
        (1, 224, 224, 3)
        >>> preprocess([photo, photo[..., 0]], (96, 64), channels=1).shape
        (2, 96, 64, 1)
    """
    transform = make_eval_transform(image_size=size, crop_pct=crop_pct)
    limits = as_value_range(value_range)
    arrays = [transform(as_image(image, channels, limits)) for image in each_image(images)]
    if not arrays:
        raise InputError("there is no image; give a path, a PIL image or an array, or several")
    return np.stack(arrays)


def each_image(images: Images) -> Iterator[OneImage]:
    """Yield one image after the other."""
    if isinstance(images, np.ndarray):
        yield from images if images.ndim == 4 else [images]
    elif isinstance(images, str | os.PathLike | Image.Image):
        yield images
    elif isinstance(images, Iterable):
        yield from images
    else:
        raise InputError(f"images are of type {type(images).__name__}; give paths, PIL images or uint8 arrays")


def as_image(image: OneImage, channels: int = 3, limits: ValueRange = EIGHT_BITS) -> Picture:
    """Read a path, or take what is in memory as if it were read; see `stored_image.read_image`.

    Raises:
        DataError: A file cannot be read, or is not a usable image.
        InputError: It is no image.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, channels, limits)
    is_plain = limits == EIGHT_BITS and channels in (1, 3)
    if isinstance(image, Image.Image) and is_plain:
        return convert_image(image, channels)
    if isinstance(image, np.ndarray):
        return convert_image(_from_array(image), channels) if is_plain else _as_planes(image, channels, limits)
    raise InputError(
        f"an image is of type {type(image).__name__}; give a path, "
        + ("a PIL image or a uint8 array" if is_plain else f"or an array of {channels} channels, values {limits}")
    )


def _as_planes(array: npt.NDArray[Any], channels: int, limits: ValueRange) -> Planes:
    if array.ndim not in (2, 3) or not array.size:
        raise InputError(f"an array of shape {list(array.shape)} is no image; give [H, W] or [H, W, C]")
    return Planes(check_pixels(np.atleast_3d(array), channels, limits), limits)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    plane = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype != np.uint8 or not (plane.ndim == 2 or (plane.ndim == 3 and plane.shape[2] == 3)) or not plane.size:
        raise InputError(
            f"an array of {array.dtype} {list(array.shape)} is no image; give uint8 [H, W], [H, W, 1] or [H, W, 3]"
        )
    return Image.fromarray(np.ascontiguousarray(plane))


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """List files as they are named, and the images in folders and their subfolders, sorted, hidden ones left out.

    Raises:
        DataError: A folder has no image.
    """
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(os.fspath(path))
            continue
        below = scan_folder(os.fsencode(path)).images
        if not below:
            raise DataError(f"{path} has no images ({' '.join(EXTENSIONS)})")
        found += [str(Path(path) / os.fsdecode(name)) for name in below]
    return found
