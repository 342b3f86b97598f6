"""Which bands of an image are taken, and what files call them."""

import json
from collections.abc import Sequence
from typing import Any, BinaryIO, TypeAlias
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError
from mae_data.images import tiff

Bands: TypeAlias = Sequence[int | str]
_SHOWN = 16
_MOST_BYTES = 1 << 20  # of a text that names bands
_COLOURS, _EXTRA = ("red", "green", "blue"), {1: "alpha", 2: "alpha"}


def as_bands(given: Any) -> tuple[int | str, ...] | None:
    """Read a choice of bands as users state it: numbers from 0, or names.

    Raises:
        ValueError: it is neither.
    """
    if given is None:
        return None
    sound = isinstance(given, list | tuple) and len(given) > 0
    sound = sound and all((type(band) is int and band >= 0) or (isinstance(band, str) and band) for band in given)
    if not sound:
        raise ValueError(f"bands {given!r}; give a list of numbers from 0, such as [3, 0, 1], or of names")
    return tuple(given)


def parse_bands(words: Sequence[str] | None) -> tuple[int | str, ...] | None:
    """Read what a command line gives: numbers and names.

    Raises:
        InputError: it is neither.
    """
    try:
        return as_bands([int(word) if word.isdigit() else word for word in words] if words else None)
    except ValueError as error:
        raise InputError(str(error)) from None


def take_bands(pixels: npt.NDArray[Any], bands: Bands, names: Sequence[str] = ()) -> npt.NDArray[Any]:
    """Return the chosen bands of pixels [H, W, C], in the order of the choice.

    Raises:
        DataError: there is no such band; those that there are are named.
    """
    return np.ascontiguousarray(pixels[:, :, find_bands(bands, pixels.shape[2], names)])


def find_bands(bands: Bands, count: int, names: Sequence[str] = ()) -> list[int]:
    """Return the places of the chosen bands among `count`, from 0; refusals as in `take_bands`."""
    places = []
    for band in bands:
        place = band if isinstance(band, int) else _find(band, names)
        if place is None or place >= count:
            raise DataError(f"there is no band {band!r}; the image has {list_bands(count, names)}")
        places.append(place)
    return places


def _find(name: str, names: Sequence[str]) -> int | None:
    found = [place for place, other in enumerate(names) if other.casefold() == name.casefold()]
    return found[0] if len(found) == 1 else None


def list_bands(count: int, names: Sequence[str] = ()) -> str:
    """Describe how many channels there are, and what the file calls them."""
    words = f"{count} channels"
    if any(names):
        shown = [f"{i} {json.dumps(name, ensure_ascii=True)[1:-1]}" for i, name in enumerate(names[:_SHOWN])]
        words += f" ({', '.join(shown)}{', ...' if len(names) > _SHOWN else ''})"
    return words


def band_names(file: BinaryIO, count: int) -> tuple[str, ...]:
    """Return what a TIFF calls its bands (GDAL, OME, ImageJ; else its colours); () where not all of them have a name.

    Args:
        file: an image file; back at its beginning afterwards.
        count: how many bands there are.
    """
    head = file.read(4)
    file.seek(0)
    if not head.startswith(tiff.MAGICS):
        return ()
    try:
        import tifffile

        with tifffile.TiffFile(file, name="image.tif") as tags:
            for names in (_gdal_names(tags), _ome_names(tags), _imagej_names(tags), _colours(tags)):
                if len(names) == count and all(names):
                    return names
    except Exception:  # bands have numbers, too; a damaged file is found when its pixels are read
        pass
    finally:
        file.seek(0)
    return ()


def _gdal_names(tiff: Any) -> tuple[str, ...]:
    tag = tiff.pages[0].tags.get("GDAL_METADATA")
    items = [] if tag is None else [e for e in _parse(str(tag.value)).iter("Item") if e.get("role") == "description"]
    found = {int(item.get("sample", -1)): (item.text or "").strip() for item in items}
    return tuple(found.get(i, "") for i in range(max(found, default=-1) + 1))


def _ome_names(tiff: Any) -> tuple[str, ...]:
    if not tiff.is_ome:
        return ()
    root = _parse(tiff.ome_metadata)
    return tuple(e.get("Name") or "" for e in root.iter() if e.tag.rpartition("}")[2] == "Channel")


def _imagej_names(tiff: Any) -> tuple[str, ...]:
    labels = (tiff.imagej_metadata or {}).get("Labels") or () if tiff.is_imagej else ()
    return tuple(str(label).strip() for label in labels)


def _colours(tiff: Any) -> tuple[str, ...]:
    page = tiff.pages[0]
    if int(page.photometric) != 2:
        return ()
    return _COLOURS + tuple(_EXTRA.get(int(kind), str(3 + i)) for i, kind in enumerate(page.extrasamples))


def _parse(text: str) -> ElementTree.Element:
    if len(text) > _MOST_BYTES or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("no plain XML of a sensible size")
    return ElementTree.fromstring(text)
