"""JPEG files that are decoded when it is known which part of them is wanted."""

import os

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.image_file import MAX_PIXELS, open_image
from mae_data.pixels import Box, Native, Size, native, resized

Path = str | bytes | os.PathLike[str]

DECODERS = ("exact", "fast")
MAX_BYTES = 2**28  # no photograph below MAX_PIXELS has more
_BEGIN, _END = b"\xff\xd8\xff", b"\xff\xd9"


class JpegImage:
    """A JPEG file of a usual kind, not decoded yet.

    Attributes:
        height, width: In pixels.
    """

    def __init__(self, path: Path, data: bytes, size: Size, channels: int, library: Native, fast: bool) -> None:
        self.height, self.width = size
        self._path, self._data = path, data
        self._channels, self._library, self._fast = channels, library, fast
        self._pixels: npt.NDArray[np.uint8] | None = None

    def getbands(self) -> tuple[str, ...]:
        """Name the channels as Pillow does."""
        return ("R", "G", "B") if self._channels == 3 else ("L",)

    def resized(self, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> npt.NDArray[np.uint8]:
        """Decode a box and resize it; see `mae_data.pixels.resized`.

        Raises:
            DataError: The file is damaged; the message starts with its path.
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
            DataError: The file is damaged; the message starts with its path.
        """
        return open_image(self._path, self._channels)


def open_lazily(path: Path, channels: int = 3, decoder: str = "exact") -> "Image.Image | JpegImage":
    """Open an image file as `open_image` does, but leave a JPEG file undecoded until a part of it is asked for.

    What is not a usual, complete JPEG file is decoded at once by Pillow, which knows and judges more.

    Args:
        path: File name.
        channels: 3 for RGB, 1 for greyscale.
        decoder: "exact" gives the pixels of `open_image`. "fast" lets the decoder halve the image as often as it
            stays twice as large as what is asked for: crops of large photographs cost less, and differ slightly.

    Raises:
        DataError: The file cannot be read or is not a usable image; the message starts with the path.
    """
    library = native()
    if library is None:
        return open_image(path, channels)
    data = _read_jpeg(path)
    size = library.jpeg_size(data) if data else None
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return open_image(path, channels)
    return JpegImage(path, data, size, channels, library, decoder == "fast")


def _read_jpeg(path: Path) -> bytes:
    """Read a whole JPEG file; nothing where it is no JPEG file, cut off, too large or cannot be read."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_BEGIN)) != _BEGIN or os.fstat(file.fileno()).st_size > MAX_BYTES:
                return b""
            data = _BEGIN + file.read()
    except OSError:
        return b""  # opening it with Pillow says what is wrong
    # Rows below a crop are never decoded: a file that was cut off there would pass. Some are padded with zeros.
    return data if data.rstrip(b"\0").endswith(_END) else b""
