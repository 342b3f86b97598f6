"""JPEG files that are decoded when it is known which part of them is wanted."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.images.formats import MAX_PIXELS, open_image
from mae_data.images.multiband import Planes
from mae_data.images.native_code import Box, Native, Size, native, resized
from mae_data.images.stored import read_image

DECODERS = ("exact", "fast")
MAX_BYTES = 2**28  # no photograph below MAX_PIXELS has more
_BEGIN, _END = b"\xff\xd8\xff", b"\xff\xd9"


class JpegImage:
    """A JPEG file of a usual kind, not decoded yet.

    Attributes:
        height, width: in pixels.
    """

    def __init__(self, data: bytes, size: Size, channels: int, library: Native, fast: bool) -> None:
        self.height, self.width = size
        self._data = data
        self._channels, self._library, self._fast = channels, library, fast
        self._pixels: npt.NDArray[np.uint8] | None = None

    def getbands(self) -> tuple[str, ...]:
        """Name the channels as Pillow does."""
        return ("R", "G", "B") if self._channels == 3 else ("L",)

    def resized(self, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> npt.NDArray[np.uint8]:
        """Decode a box and resize it; see `mae_data.images.native_code.resized`.

        Raises:
            DataError: the file is damaged.
        """
        if self._pixels is not None:
            return self._library.resize(self._pixels, box, size, window, flip)
        crop = self._library.crop_jpeg
        pixels = crop(self._data, box, size, window, flip, channels=self._channels, fast=self._fast)
        return resized(self.decoded(), box, size, window, flip) if pixels is None else pixels

    def keep_decoded(self) -> None:
        """Decode the whole image now: from the second part that is asked for on, this is faster."""
        self._pixels = self._library.decode_jpeg(self._data, (self.height, self.width), self._channels)

    def decoded(self) -> Image.Image:
        """Decode the whole image with Pillow.

        Raises:
            DataError: the file is damaged.
        """
        return open_image(io.BytesIO(self._data), self._channels)


def open_lazily(data: bytes, channels: int = 3, decoder: str = "exact") -> "Image.Image | JpegImage | Planes":
    """Open an 8-bit picture as `read_image` does, but leave JPEG undecoded until a part of it is asked for.

    What is not a usual, complete JPEG file is decoded at once by Pillow, which knows and judges more.

    Args:
        data: the content of an image file.
        channels: 3 for RGB, 1 for greyscale.
        decoder: "exact" gives the pixels of `open_image`. "fast" lets the decoder halve the image as often as it
            stays twice as large as what is asked for: crops of large photographs cost less, and differ slightly.

    Raises:
        DataError: it is not a usable image.
    """
    library = native()
    size = library.jpeg_size(data) if library and _is_whole_jpeg(data) else None
    if library is None or size is None or size[0] * size[1] > MAX_PIXELS:
        return read_image(io.BytesIO(data), channels)
    return JpegImage(data, size, channels, library, decoder == "fast")


def _is_whole_jpeg(data: bytes) -> bool:
    """Tell JPEG that was not cut off: rows below a crop are never decoded, so it would pass."""
    # Some files are padded with zeros.
    return data.startswith(_BEGIN) and len(data) <= MAX_BYTES and data.rstrip(b"\0").endswith(_END)
