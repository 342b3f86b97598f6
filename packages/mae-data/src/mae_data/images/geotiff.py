"""Scenes by rasterio (extra `geo`): the files that it opens, and maps of results that lie where the scene lies."""

import importlib.util
import logging
import math
import os
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError
from mae_data.files import write_atomically, write_whole
from mae_data.images.bounds import MAX_PIXELS
from mae_data.images.formats import named_errors
from mae_data.images.native_code import Size
from mae_data.images.tiff_directory import MAGICS, read_pages

Name: TypeAlias = str | bytes | os.PathLike[str]
TIFF, _JPEG2000 = "GTiff", "JP2OpenJPEG"
# GDAL's drivers; others read whatever files a file names.
DRIVERS = {b"tif": TIFF, b"tiff": TIFF, b"jp2": _JPEG2000, b"j2k": _JPEG2000}
LEAST = 1 << 22  # pixels of a TIFF that is a scene; smaller ones are decoded whole as fast
NEEDS_RASTERIO = 'it is read by windows, by rasterio: pip install "mae-data[geo]"'
_DESCRIPTION, _ORIENTATION = 270, 274
_CACHE_MB = 64  # of decoded tiles; GDAL takes a part of the machine's memory otherwise

logging.getLogger("rasterio").addHandler(logging.NullHandler())  # what is wrong with a file is said once, by us


def driver_of(name: Name) -> str | None:
    """Return GDAL's driver for a file, by its ending; None where it is of another kind."""
    return DRIVERS.get(os.fsencode(name).rpartition(b".")[2].lower())


def is_scene(name: Name) -> bool:
    """Return whether a file is read by windows: JPEG 2000, and TIFF of one page of many pixels.

    Raises:
        DataError: it is one that cannot be read otherwise, and rasterio is missing.
    """
    driver = driver_of(name)
    if driver is None:
        return False
    pixels = _pixels_of_page(os.fsdecode(name)) if driver == TIFF else math.inf  # nothing else reads JPEG 2000
    if pixels < LEAST:
        return False
    if importlib.util.find_spec("rasterio") is None:
        if pixels > MAX_PIXELS:
            with named_errors(name):
                raise DataError(NEEDS_RASTERIO)
        return False
    return True


def _pixels_of_page(name: str) -> int:
    """Return how many pixels a TIFF has that is one upright picture; 0 for all else, which is read whole."""
    try:
        with open(name, "rb") as file:
            if file.read(4) not in MAGICS:
                return 0
            first, *others = read_pages(file)
            stack = re.match(r"ImageJ=.*\nimages=(\d+)", first.text(_DESCRIPTION))
            if any(page.is_picture for page in others) or (stack and int(stack[1]) > 1):
                return 0
            return first.width * first.height if first.number(_ORIENTATION, 1) == 1 else 0
    except (OSError, ValueError, DataError, struct.error):  # whoever reads it says what is wrong
        return 0


@contextmanager
def gdal() -> Iterator[Any]:
    """Enter GDAL's environment, and give rasterio."""
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB, GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield rasterio


def require_rasterio() -> None:
    """Raise InputError with the install command where rasterio is missing."""
    if importlib.util.find_spec("rasterio") is None:
        raise InputError('a map needs rasterio: pip install "mae-data[geo]"')


def write_map(path: Path, cells: npt.NDArray[np.float32], names: Sequence[str], scene: Name, cell: Size) -> None:
    """Write cells as float32 bands, with the scene's coordinate system and its transform scaled to the cells.

    Args:
        path: a .tif file; one that exists is replaced.
        cells: [rows, columns, D], from the scene's upper left corner on; NaN is no data.
        names: D descriptions of the bands.
        scene: the image; one that is neither TIFF nor JPEG 2000 lies nowhere.
        cell: (height, width) of a cell in pixels of the scene.

    Raises:
        InputError: rasterio is missing, or the file cannot be written.
        DataError: the scene cannot be opened.
    """
    require_rasterio()
    with named_errors(path), gdal() as rasterio, rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", dtype="float32", nodata=math.nan, compress="deflate", **_shape(cells, scene, cell)
        ) as file:
            file.write(cells.transpose(2, 0, 1))
            for number, name in enumerate(names, 1):
                file.set_band_description(number, name)
        data = memory.read()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def has_place(image: Name) -> bool:
    """Tell whether an image says where on earth it lies, as far as rasterio is there to read it."""
    driver = driver_of(image)
    if driver is None or importlib.util.find_spec("rasterio") is None:
        return False
    with named_errors(image), gdal() as rasterio, rasterio.open(os.fsdecode(image), driver=driver) as file:
        return file.crs is not None or not file.transform.is_identity


def write_class_map(
    path: Path,
    classes: npt.NDArray[np.integer],
    colours: npt.NDArray[np.uint8],
    scene: Name,
    nodata: int | None = None,
) -> None:
    """Write the class of each pixel as one band in the place of the scene, with the colours of up to 256 classes.

    Args:
        path: a .tif file; one that exists is replaced.
        classes: [H, W] of uint8 or uint16, the size of the scene.
        colours: uint8 [K, 3].
        nodata: what `classes` holds where there is no data, which the file says; None: there is data everywhere.

    Raises:
        InputError: rasterio is missing, or the file cannot be written.
        DataError: the scene cannot be opened.
    """
    require_rasterio()
    shape = _shape(classes[..., None], scene, (1, 1))
    kind = {"driver": "GTiff", "dtype": classes.dtype.name, "compress": "deflate", "tiled": True, "nodata": nodata}

    def fill(file: BinaryIO) -> None:
        with rasterio.open(file, "w", **kind, **shape) as written:
            if classes.dtype == np.uint8:  # before the pixels: GDAL signals an error where colours come after them
                written.write_colormap(1, {number: (*map(int, colour), 255) for number, colour in enumerate(colours)})
            written.write(classes, 1)

    with named_errors(path), gdal() as rasterio:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, fill)


def _shape(cells: npt.NDArray[Any], scene: Name, cell: Size) -> dict[str, Any]:
    rows, columns, count = cells.shape
    shape: dict[str, Any] = {"height": rows, "width": columns, "count": count}
    if (driver := driver_of(scene)) is None:
        return shape
    with named_errors(scene), gdal() as rasterio, rasterio.open(scene, driver=driver) as file:
        t = file.transform
        scaled = type(t)(t.a * cell[1], t.b * cell[0], t.c, t.d * cell[1], t.e * cell[0], t.f)
        return shape | {"transform": scaled, "crs": file.crs}
