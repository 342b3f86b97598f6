"""Maps of what is said of a scene: GeoTIFF that lies where the scene lies."""

import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mae_data.errors import InputError
from mae_data.files import write_atomically, write_whole
from mae_data.images.formats import named_errors
from mae_data.images.native_code import Size
from mae_data.images.scene import Name, driver_of, gdal


def require_rasterio() -> None:
    """Raise InputError with the install command where rasterio is missing."""
    if find_spec("rasterio") is None:
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
    if driver is None or find_spec("rasterio") is None:
        return False
    with named_errors(image), gdal() as rasterio, rasterio.open(os.fsdecode(image), driver=driver) as file:
        return file.crs is not None or not file.transform.is_identity


def write_class_map(path: Path, classes: npt.NDArray[np.integer], colours: npt.NDArray[np.uint8], scene: Name) -> None:
    """Write the class of each pixel as one band in the place of the scene, with the colours of up to 256 classes.

    Args:
        path: a .tif file; one that exists is replaced.
        classes: [H, W] of uint8 or uint16, the size of the scene.
        colours: uint8 [K, 3].

    Raises:
        InputError: rasterio is missing, or the file cannot be written.
        DataError: the scene cannot be opened.
    """
    require_rasterio()
    shape = _shape(classes[..., None], scene, (1, 1))
    kind = {"driver": "GTiff", "dtype": classes.dtype.name, "compress": "deflate", "tiled": True}

    def fill(file: BinaryIO) -> None:
        with rasterio.open(file, "w", **kind, **shape) as written:
            written.write(classes, 1)
            if classes.dtype == np.uint8:
                written.write_colormap(1, {number: (*map(int, colour), 255) for number, colour in enumerate(colours)})

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
