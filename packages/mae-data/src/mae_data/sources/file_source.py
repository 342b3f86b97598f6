"""Sources whose images are files below a folder, named by an index; and how many of them carry an EXIF rotation."""

import io
import os
import stat
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from mae_data.errors import ImageError
from mae_data.images.bounds import MAX_PIXELS
from mae_data.images.formats import named_errors, open_picture
from mae_data.images.jpeg_header import orientation_of
from mae_data.images.volumes.slices import read_slice, split_name
from mae_data.limits import explain_limit
from mae_data.sources.cache import hash_states
from mae_data.sources.index_file import Index
from mae_data.sources.source import Fingerprint, Source

MAX_BYTES = 1 << 30  # no image of allowed size has a larger file
_LOOKED_AT = 32
_HEADER = 1 << 18


class FileSource(Source):
    """Image files whose names an index holds.

    Names stay bytes, as in the list or on the disk, and lie in one block: opening a file does not depend on the
    locale, and worker processes share the block, as no reference count in it changes.

    Args:
        name: what messages call the source.
        root: folder that the names are relative to.
        index: names and labels.
        sha256: hash of the list, or of names and labels.
    """

    def __init__(self, name: str, root: str, index: Index, sha256: str) -> None:
        self.name = name
        self.root = root
        self.labels = index.arrays["labels"]
        self._index = index
        self._sha256 = sha256
        self._root = os.fsencode(root)

    def path(self, index: int) -> str:
        """Return the path of entry `index` below the root."""
        return self._index.name(index).decode("utf-8", "backslashreplace")

    def file(self, index: int) -> bytes:
        """Return the file name to open for entry `index`."""
        return os.path.join(self._root, self._index.name(index))

    def read(self, index: int) -> bytes:
        """Return the encoded image of entry `index`, that of a slice of a file too; see `Source`."""
        name = self.file(index)
        if part := split_name(name):
            try:
                with named_errors(name):
                    return read_slice(*part, MAX_PIXELS)
            except ImageError as error:
                raise ImageError(self.describe(index), error.reason) from error
        try:
            found = os.stat(name)  # before it is opened: a pipe would wait for ever, a device never end
            if not stat.S_ISREG(found.st_mode):
                raise ImageError(self.describe(index), "not a file with data, but a folder, pipe or device")
            if found.st_size > MAX_BYTES:
                raise ImageError(self.describe(index), f"{found.st_size} bytes are more than the limit of {MAX_BYTES}")
            with open(name, "rb") as file:
                return file.read()
        except OSError as error:
            if limit := explain_limit(error):  # no fault of this image
                raise limit from error
            raise ImageError(self.describe(index), f"cannot read the file ({error.strerror})") from error

    def fingerprint(self) -> Fingerprint:
        """Return the number of images and the hash of the list, or of names and labels."""
        return {"images": len(self), "sha256": self._sha256}

    def state(self) -> str:
        """Return a hash of the state of all files; see `Source`."""
        return hash_states(self.file(index) for index in range(len(self)))


def file_orientation(file: BinaryIO) -> int:
    """Return the orientation of an image file that is open at its beginning; 1 of what is none."""
    with suppress(Exception), open_picture(file) as image:  # reading it names the fault
        return 1 if image.format == "TIFF" else orientation_of(image)
    return 1


def count_turned(images: Source) -> tuple[int, int]:
    """Look at some files spread over a list; return how many, and how many of them carry a rotation."""
    if not isinstance(images, FileSource) or not len(images):  # of others, one image costs more
        return 0, 0
    places = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(int)).tolist()
    return len(places), sum(_is_turned(images, place) for place in places)


def _is_turned(images: FileSource, place: int) -> bool:
    with suppress(OSError), open(images.file(place), "rb") as file:
        return file_orientation(io.BytesIO(file.read(_HEADER))) > 1
    return False
