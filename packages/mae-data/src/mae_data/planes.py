"""Images of any number of channels and depth, with those methods of a Pillow image that transforms call.

Pillow's own images have at most four channels, of 8 bits. It resizes single channels of floats, though, adding
up in double precision, which loses nothing of 16 bits; 8-bit channels are resized as it resizes those of RGB.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.value_range import EIGHT_BITS, ValueRange

Pixels = npt.NDArray[Any]


class Planes:
    """An image as stored.

    Args:
        pixels: [H, W, C] of the range's type: uint8, uint16 or float32.
        limits: What the values mean; resizing overshoots at edges and is clipped to it, as Pillow clips to 0 and 255.
    """

    def __init__(self, pixels: Pixels, limits: ValueRange) -> None:
        assert pixels.ndim == 3
        assert pixels.dtype == limits.dtype
        self.pixels = pixels
        self.limits = limits

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width, self.height

    def getbands(self) -> tuple[str, ...]:
        """Name the channels, by number."""
        return tuple(map(str, range(self.pixels.shape[2])))

    def crop(self, box: tuple[int, int, int, int]) -> "Planes":
        """Cut out (left, top, right, bottom), which lies inside the image."""
        left, top, right, bottom = box
        assert 0 <= left < right <= self.width
        assert 0 <= top < bottom <= self.height
        return Planes(self.pixels[top:bottom, left:right], self.limits)

    def transpose(self, method: Image.Transpose) -> "Planes":
        """Flip the image horizontally."""
        if method != Image.Transpose.FLIP_LEFT_RIGHT:
            raise ValueError(f"{method} is not made for images of any channel count; only FLIP_LEFT_RIGHT is")
        return Planes(self.pixels[:, ::-1], self.limits)

    def resize(self, size: tuple[int, int], resample: int) -> "Planes":
        """Resize to (width, height), each channel by itself; integers are rounded once, at the end."""
        resized = [self._resize_plane(c, size, resample) for c in range(self.pixels.shape[2])]
        return Planes(np.stack(resized, axis=-1), self.limits)

    def _resize_plane(self, channel: int, size: tuple[int, int], resample: int) -> Pixels:
        kind = np.uint8 if self.pixels.dtype == np.uint8 else np.float32
        plane = Image.fromarray(np.ascontiguousarray(self.pixels[:, :, channel], dtype=kind))
        resized = np.asarray(plane.resize(size, Image.Resampling(resample)))
        if kind == np.float32 and not self.limits.is_float:
            resized = np.rint(resized)
        return resized.clip(*self.limits.bounds).astype(self.pixels.dtype)

    def __array__(self, dtype: npt.DTypeLike = None, copy: bool | None = None) -> Pixels:
        return np.array(self.pixels, dtype=dtype, copy=True)


Picture = Image.Image | Planes


def limits_of(image: Picture) -> ValueRange:
    """Return what an image's values mean; those of a Pillow image have 8 bits."""
    return image.limits if isinstance(image, Planes) else EIGHT_BITS
