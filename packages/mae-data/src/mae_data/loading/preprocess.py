"""Images of any kind as the pixels that a model is evaluated on; needs Pillow and NumPy alone."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError, InputError
from mae_data.images.bands import Bands, as_bands, take_bands
from mae_data.images.formats import EXTENSIONS, MAX_PIXELS, File, convert_image
from mae_data.images.geotiff import is_scene
from mae_data.images.jpeg_header import orientation_of, turned_pixels
from mae_data.images.nodata import Nodata, as_nodata
from mae_data.images.scene import Scene
from mae_data.images.stored import as_read, read_image
from mae_data.images.value_range import EIGHT_BITS, ValueRange, as_value_range
from mae_data.sources.folders.folder_scan import scan_folder
from mae_data.transforms.native_crop import NativeCentre
from mae_data.transforms.pipelines import EvalTransform, Picture, Size, as_size, make_eval_transform

OneImage: TypeAlias = str | os.PathLike[str] | io.BytesIO | Image.Image | npt.NDArray[Any]
Images: TypeAlias = OneImage | Iterable[OneImage]


def preprocess(
    images: Images,
    size: int | Size,
    crop_pct: float | None = None,
    *,
    channels: int = 3,
    value_range: float | Sequence[float] = 255,
    bands: Bands | None = None,
    exif: bool = True,
    nodata: float | str | None = None,
    mean: Sequence[float] | None = None,
) -> npt.NDArray[Any]:
    """Turn images into a batch as evaluation does: resize the shorter side, crop the centre.

    This is all that an exported model needs before it: normalisation is in the graph.

    Args:
        images: One image or several: a path, a folder, a file in memory (`io.BytesIO`), a PIL image, an array [H, W] or
            [H, W, C]; an array [N, H, W, C] is N of them. 8-bit images of 1 or 3 channels become what is asked for.
        size: Side of the square result, or (height, width), in pixels.
        crop_pct: Part of the shorter side that the crop shows; by default 0.875 up to 224 pixels and 1.0 above.
        channels: 3 for RGB, 1 for grey, or as many as all images have.
        value_range: The value of white, 255 for 8 bits, above for 16; or [low, high] of floats.
        bands: The bands of each image that are taken, by number from 0 or by the name that a file gives; None: all.
        exif: Turn 8-bit pictures as their EXIF tag says.
        nodata: What stands for no data: a number, "nan", or "file" for what each file says; it is filled in.
        mean: What it is filled with, per channel, 0 and 1 the ends of the value range.

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
    given = ModelInput(size, crop_pct, channels, value_range, bands, exif, nodata, mean)
    return given.batch(images)


class TakesImages(Protocol):
    """What a model states of its images."""

    img_size: Size
    in_chans: int
    crop_pct: float | None
    bands: Bands | None
    exif: bool
    nodata: float | str | None
    pixel_mean: Sequence[float]

    @property
    def value_range(self) -> float | Sequence[float]:
        """The stored values that count as black and white."""
        ...


@dataclass(frozen=True)
class ModelInput:
    """How images become a model's input in evaluation; see `preprocess`.

    Attributes:
        coverage: see `ListDataset`.
        native: the centre is shown at native resolution; `crop_pct` says nothing then.

    Raises:
        ValueError: crop, range, bands or no data that are none.
    """

    size: int | Size
    crop_pct: float | None = None
    channels: int = 3
    value_range: float | Sequence[float] = 255
    bands: Bands | None = None
    exif: bool = True
    nodata: float | str | None = None
    mean: Sequence[float] | None = None
    coverage: bool = False
    native: bool = False

    def __post_init__(self) -> None:
        as_bands(self.bands)
        as_nodata(self.nodata)
        as_value_range(self.value_range)
        make_eval_transform(image_size=self.size, crop_pct=self.crop_pct)

    @classmethod
    def of(cls, model: TakesImages, crop_pct: float | None = None) -> "ModelInput":
        """Take what a model states; `crop_pct` replaces its own."""
        m = model
        crop_pct = crop_pct or m.crop_pct
        return cls(m.img_size, crop_pct, m.in_chans, m.value_range, m.bands, m.exif, m.nodata, m.pixel_mean)

    @property
    def limits(self) -> ValueRange:
        """The value range."""
        return as_value_range(self.value_range)

    @property
    def transform(self) -> EvalTransform | NativeCentre:
        """What evaluation does to an image that is read."""
        if self.native:
            return NativeCentre(as_size(self.size))
        return make_eval_transform(image_size=self.size, crop_pct=self.crop_pct)

    def read(self, file: File, max_pixels: int = MAX_PIXELS) -> Picture:
        """Read an image file, or open one that is read by windows; see `read_image`."""
        if isinstance(file, str | bytes | os.PathLike) and is_scene(file):
            return Scene(file, self.channels, self.limits, self.bands, self._nodata)
        return read_image(
            file, self.channels, self.limits, max_pixels, bands=self.bands, exif=self.exif, nodata=self._nodata
        )

    @property
    def _nodata(self) -> Nodata | None:
        return as_nodata(self.nodata, self.mean, self.coverage)

    def picture(self, image: OneImage) -> Picture:
        """Read a file, also one in memory, or take pixels as if they were read."""
        if isinstance(image, str | os.PathLike | io.BytesIO):
            return self.read(image)
        return as_image(image, self.channels, self.limits, self.bands, self.exif, self._nodata)

    def pixels(self, image: OneImage) -> npt.NDArray[Any]:
        """Return the pixels [H, W, C] of an image of any kind."""
        return self.transform(self.picture(image))

    def batch(self, images: Images) -> npt.NDArray[Any]:
        """Return the pixels [N, H, W, C] of one image or several.

        Raises:
            DataError: a file cannot be read, or is not a usable image.
            InputError: something is none of these, or there is no image.
        """
        arrays = [self.pixels(image) for image in each_image(images)]
        if not arrays:
            raise InputError("there is no image; give a path, a PIL image or an array, or several")
        return np.stack(arrays)


def each_image(images: Images) -> Iterator[OneImage]:
    """Yield one image after the other; a folder stands for all images below it, as `find_images` lists them."""
    if isinstance(images, np.ndarray):
        yield from images if images.ndim == 4 else [images]
    elif isinstance(images, str | os.PathLike):
        yield from find_images([images])
    elif isinstance(images, Image.Image | io.BytesIO):
        yield images
    elif isinstance(images, Iterable):
        yield from images
    else:
        raise InputError(f"images are of type {type(images).__name__}; give paths, PIL images or uint8 arrays")


def as_image(
    image: OneImage,
    channels: int = 3,
    limits: ValueRange = EIGHT_BITS,
    bands: Bands | None = None,
    exif: bool = True,
    nodata: Nodata | None = None,
) -> Picture:
    """Take what is in memory as if it were read; see `images.stored.read_image`.

    Raises:
        DataError: It is not a usable image.
        InputError: It is no image.
    """
    if bands is not None:
        pixels = np.atleast_3d(np.asarray(image))
        turn = orientation_of(image) if exif and isinstance(image, Image.Image) else 1
        image = take_bands(turned_pixels(pixels, turn), bands)
    is_plain = limits == EIGHT_BITS and channels in (1, 3)
    if not isinstance(image, np.ndarray) and not (isinstance(image, Image.Image) and is_plain):
        raise InputError(
            f"an image is of type {type(image).__name__}; give a path, "
            + ("a PIL image or a uint8 array" if is_plain else f"or an array of {channels} channels, values {limits}")
        )
    if is_plain:
        picture = image if isinstance(image, Image.Image) else _from_array(image)
        picture = convert_image(picture, channels, exif)
        if nodata is None:
            return picture
        image = np.asarray(picture)
    return as_read(_as_pixels(np.asarray(image)), channels, limits, nodata=nodata)


def _as_pixels(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim not in (2, 3) or not array.size:
        raise InputError(f"an array of shape {list(array.shape)} is no image; give [H, W] or [H, W, C]")
    return np.atleast_3d(array)


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
