"""Scenes: images too large to be decoded whole, of which windows are read by rasterio (extra `geo`).

A window holds the values that rasterio reads, and what becomes of them is what becomes of any other image.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.bands import Bands, find_bands, list_bands
from mae_data.images.bounds import MAX_BYTES, MAX_PIXELS, check_growth
from mae_data.images.formats import convert_image, named_errors
from mae_data.images.geotiff import TIFF, Name, driver_of, gdal
from mae_data.images.native_code import Box, Size, resized
from mae_data.images.nodata import Nodata, filled_pixels, has_data, mean_of_squares
from mae_data.images.stored import Stored, as_read
from mae_data.images.value_range import EIGHT_BITS, Planes, ValueRange

Pixels = npt.NDArray[Any]

WHOLE = 1 << 24  # pixels of a window, above which it is read averaged
_STRIP, _PART = 1 << 22, 1 << 20  # pixels that are averaged, or summed, at once
_KEPT = 16  # files that stay open


def inspect_scene(name: Name) -> Stored:
    """Describe what a scene holds, as `inspect_image` does of other images; nothing is decoded.

    Raises:
        DataError: rasterio cannot open it.
    """
    with named_errors(name), gdal() as rasterio, rasterio.open(os.fsdecode(name), driver=driver_of(name)) as file:
        kind = np.dtype(file.dtypes[0])
        return Stored(3 if file.count == 1 and kind == np.uint8 else file.count, kind)


class Scene:
    """A file of which windows are read; transforms take it as they take an image.

    Args:
        name: the file.
        channels, limits, bands, nodata: see `read_image`.

    Attributes:
        height, width: in pixels.

    Raises:
        DataError: rasterio cannot open it, or it contradicts channels or bands; the message starts with its name.
    """

    def __init__(
        self,
        name: Name,
        channels: int,
        limits: ValueRange,
        bands: Bands | None = None,
        nodata: Nodata | None = None,
    ) -> None:
        self.name, self.channels, self.limits, self.nodata = os.fsdecode(name), channels, limits, nodata
        with named_errors(self.name), gdal() as rasterio:
            self.file = rasterio.open(self.name, driver=driver_of(name))
            self.height, self.width = self.file.height, self.file.width
            self._refuse_strange()
            self._indexes = self._choose(bands)
            self._turns = self.file.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def getbands(self) -> tuple[str, ...]:
        """Name the channels, by number."""
        return tuple(map(str, range(self.channels)))

    def read(self, box: Box, shrink: int = 1) -> Image.Image | Planes:
        """Read a box as `read_image` reads a file.

        Args:
            box: (top, left, height, width), inside the scene.
            shrink: pixels of a row and of a column that become one, their mean: a power of two.

        Raises:
            DataError: the file is damaged, or contradicts the value range; the message starts with its name.
        """
        with named_errors(self.name), gdal() as rasterio:
            pixels = self._read(self.file, box) if shrink == 1 else self._shrunk(rasterio, box, shrink)
            pixels = pixels.transpose(1, 2, 0)
            if self.limits == EIGHT_BITS and pixels.shape[2] != self.channels and pixels.dtype == np.uint8:
                picture = convert_image(Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels))
                pixels = np.atleast_3d(np.asarray(convert_image(picture, self.channels)))
            return as_read(pixels, self.channels, self.limits, nodata=self.nodata, file_says=lambda: self.file.nodata)

    def parts(self) -> Iterator[Box]:
        """Yield boxes that cover the scene, of whole tiles, few enough to be held."""
        rows, columns = self.file.block_shapes[0]
        columns *= max(1, _PART // (rows * columns))
        if columns >= self.width:
            rows *= max(1, _PART // (rows * self.width))
        for top in range(0, self.height, rows):
            for left in range(0, self.width, columns):
                yield top, left, min(rows, self.height - top), min(columns, self.width - left)

    def masked(self, box: Box) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Return a box's pixels [H, W, C] as stored, in the type of the range, and which values are data."""
        assert self.nodata is not None
        with named_errors(self.name), gdal():
            pixels = self._read(self.file, box).transpose(1, 2, 0)
            return filled_pixels(pixels, self.channels, self.limits, (), self.nodata, lambda: self.file.nodata)

    def resized(self, box: Box, size: Size, window: Box | None = None, flip: bool = False) -> Pixels:
        """Cut a box out and resize it; see `mae_data.images.native_code.resized`.

        A box of more than WHOLE pixels is averaged first, by a power of two that leaves at least twice the size.
        """
        shrink = 1
        while box[2] * box[3] > WHOLE and min(box[2] // size[0], box[3] // size[1]) >= 4 * shrink:
            shrink *= 2
        image = self.read(box, shrink)
        whole = (0, 0, image.height, image.width)
        if isinstance(image, Planes):
            return image.resized(whole, size, window, flip)
        return resized(image, whole, size, window, flip)

    def _refuse_strange(self) -> None:
        rows, columns = self.file.block_shapes[0]
        together = self.file.count if self.file.interleaving.value == "PIXEL" else 1
        held = rows * columns * together * np.dtype(self.file.dtypes[0]).itemsize
        if held > MAX_BYTES:
            raise DataError(
                f"its strips or tiles of {held / 1e6:,.0f} MB are each decoded whole; save it in tiles:"
                " gdal_translate -co TILED=YES"
            )
        if any(kind.name == "palette" for kind in self.file.colorinterp):
            raise DataError("a scene whose numbers stand for colours of a palette; save the colours themselves")
        if len(set(self.file.dtypes)) > 1:
            raise DataError(f"its bands are of several types: {', '.join(self.file.dtypes)}; save them as one")

    def _choose(self, bands: Bands | None) -> list[int]:
        """Return the numbers of the bands that are read, from 1."""
        count, names = self.file.count, self._names()
        if bands is not None:
            return [place + 1 for place in find_bands(bands, count, names)]
        is_picture = self.limits == EIGHT_BITS and count in (1, 3) and self.channels in (1, 3)
        if count != self.channels and not is_picture:
            raise DataError(
                f"the image has {list_bands(count, names)}, {self.channels} are asked for:"
                f" state {count} (IMAGE_CHANNELS, --channels) or choose bands (BANDS, --bands)"
            )
        return list(range(1, count + 1))

    def _names(self) -> tuple[str, ...]:
        names = tuple(name or "" for name in self.file.descriptions)
        if all(names) or self.file.colorinterp[0].name != "red":
            return names
        return tuple(kind.name if kind.name != "undefined" else str(i) for i, kind in enumerate(self.file.colorinterp))

    def _read(self, file: Any, box: Box) -> Pixels:
        """Read a box [C, H, W] as stored; where 0 is white, unsigned integers are turned."""
        top, left, height, width = box
        if height * width > MAX_PIXELS:
            raise DataError(f"a window of {width}x{height} pixels is too elongated to be read; take smaller crops")
        pixels: Pixels = file.read(self._indexes, window=((top, top + height), (left, left + width)))
        return np.iinfo(pixels.dtype).max - pixels if self._turns and pixels.dtype.kind == "u" else pixels

    def _shrunk(self, rasterio: Any, box: Box, shrink: int) -> Pixels:
        """Read a box averaged [C, H // shrink, W // shrink], from an overview where the file has one."""
        top, left, height, width = box
        check_growth(
            height * width * len(self._indexes) * np.dtype(self.file.dtypes[0]).itemsize, os.path.getsize(self.name)
        )
        levels = [level for level in self.file.overviews(1) if shrink % level == 0 and self.file.driver == TIFF]
        if not levels:
            return self._averaged(self.file, box, shrink)
        level = max(levels)
        with rasterio.open(self.name, driver=TIFF, overview_level=self.file.overviews(1).index(level)) as smaller:
            top, left = top // level, left // level
            rows, columns = min(height // level, smaller.height - top), min(width // level, smaller.width - left)
            return self._averaged(smaller, (top, left, rows, columns), shrink // level)

    def _averaged(self, file: Any, box: Box, shrink: int) -> Pixels:
        top, left, height, width = box
        width -= width % shrink
        rows = max(1, _STRIP // (width * shrink)) * shrink
        parts = []
        for start in range(0, height - height % shrink, rows):
            strip = (top + start, left, min(rows, height - height % shrink - start), width)
            pixels, valid = self._read(file, strip), None
            if self.nodata is not None:
                valid = has_data(pixels, self.file.nodata if self.nodata.value is None else self.nodata.value)
            parts.append(mean_of_squares(pixels, shrink, valid))
        return np.concatenate(parts, axis=1)


class OpenScenes:
    """The scenes that were read last, kept open: several crops of one opening."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, Scene | None] = OrderedDict()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type["OpenScenes"], tuple[()]]:
        return OpenScenes, ()

    def get(self, number: int, make: Callable[[], Scene | None]) -> Scene | None:
        """Return scene `number`, opened by `make` unless it is open; None where that says that it is none."""
        if self._process != os.getpid():  # a file that a parent opened shares its place with it
            self._open, self._process = OrderedDict(), os.getpid()
        if number not in self._open:
            scene = make()
            if scene is None:
                return None
            self._open[number] = scene
            if len(self._open) > _KEPT:
                _, oldest = self._open.popitem(last=False)
                assert oldest is not None
                oldest.close()
        self._open.move_to_end(number)
        return self._open[number]
