"""Sources whose images are files below a folder, named by an index."""

import os
import stat

from mae_data.errors import ImageError
from mae_data.images.bounds import MAX_PIXELS
from mae_data.images.formats import named_errors
from mae_data.images.volumes.slices import read_slice, split_name
from mae_data.limits import explain_limit
from mae_data.sources.cache import hash_states
from mae_data.sources.index_file import Index
from mae_data.sources.source import Fingerprint, Source

MAX_BYTES = 1 << 30  # no image of allowed size has a larger file


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
