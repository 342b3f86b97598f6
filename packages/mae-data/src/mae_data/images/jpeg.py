"""JPEG files that are decoded when it is known which part of them is wanted."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.images.bounds import check_frame
from mae_data.images.formats import named_errors, open_image
from mae_data.images.jpeg_header import BEGIN, END, jpeg_orientation, read_frame, stored_box, turned_pixels
from mae_data.images.native_code import Box, Native, Size, native, resized
from mae_data.images.stored import read_image
from mae_data.images.value_range import Planes

DECODERS = ("exact", "fast")
MAX_BYTES = 2**28  # no photograph that is small enough has more


class JpegImage:
    """A JPEG file of a usual kind, not decoded yet.

    Attributes:
        height, width: in pixels.
    """

    def __init__(
        self, data: bytes, size: Size, channels: int, library: Native, fast: bool, orientation: int = 1
    ) -> None:
        self._stored, self._orientation = size, orientation
        self.height, self.width = size[::-1] if orientation > 4 else size
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
        if self._orientation > 1:
            return self._turned(box, size, window, flip)
        crop = self._library.crop_jpeg
        pixels = crop(self._data, box, size, window, flip, channels=self._channels, fast=self._fast)
        return resized(self.decoded(), box, size, window, flip) if pixels is None else pixels

    def _turned(self, box: Box, size: Size, window: Box | None, flip: bool) -> npt.NDArray[np.uint8]:
        """Do the same for a picture that is stored turned: decode the box at its size, turn and resize it."""
        place = stored_box(box, (self.height, self.width), self._orientation)
        pixels = self._library.crop_jpeg(self._data, place, place[2:], channels=self._channels)
        if pixels is None:
            return resized(self.decoded(), box, size, window, flip)
        whole = (0, 0, *box[2:])
        return self._library.resize(turned_pixels(pixels, self._orientation), whole, size, window, flip)

    def keep_decoded(self) -> None:
        """Decode the whole image now: from the second part that is asked for on, this is faster."""
        pixels = self._library.decode_jpeg(self._data, self._stored, self._channels)
        self._pixels = None if pixels is None else turned_pixels(pixels, self._orientation)

    def decoded(self) -> Image.Image:
        """Decode the whole image with Pillow.

        Raises:
            DataError: the file is damaged.
        """
        return open_image(io.BytesIO(self._data), self._channels, exif=self._orientation > 1)


def open_lazily(
    data: bytes, channels: int = 3, decoder: str = "exact", exif: bool = True
) -> "Image.Image | JpegImage | Planes":
    """Open an 8-bit picture as `read_image` does, but leave JPEG undecoded until a part of it is asked for.

    What is not a usual, complete JPEG file is decoded at once by Pillow, which reads more kinds and refuses what is
    damaged. So is a progressive one that lacks scans: the decoder smooths over its blocks, otherwise in crops than in
    the whole.

    Args:
        data: the content of an image file.
        channels: 3 for RGB, 1 for greyscale.
        decoder: "exact" gives the pixels of `open_image`. "fast" lets the decoder halve the image as often as it
            stays twice as large as what is asked for: crops of large photographs cost less, and differ slightly.
        exif: turn pictures as their EXIF tag says.

    Raises:
        DataError: it is not a usable image.
    """
    library = native()
    if library is None or not _is_whole_jpeg(data) or (size := _checked_size(data, library)) is None:
        return read_image(io.BytesIO(data), channels, exif=exif)
    orientation = jpeg_orientation(data) if exif else 1
    return JpegImage(data, size, channels, library, decoder == "fast", orientation)


def _is_whole_jpeg(data: bytes) -> bool:
    """Return whether a JPEG was not cut off: rows below a crop are never decoded, so it would pass."""
    # Some files are padded with zeros.
    return data.startswith(BEGIN) and len(data) <= MAX_BYTES and data.rstrip(b"\0").endswith(END)


def _checked_size(data: bytes, library: Native) -> Size | None:
    """Return (height, width) of a JPEG that can be decoded by parts; None where Pillow has to judge it."""
    frame = read_frame(data)
    if frame is None or not frame.complete:
        return None
    with named_errors(io.BytesIO(data)):
        check_frame(frame, len(data))
    return library.jpeg_size(data)
