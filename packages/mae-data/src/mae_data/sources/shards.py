"""Tar shards in WebDataset's layout, with an index of where each image lies: any image takes one read.

train-000000.tar    cat/1.jpg cat/1.cls dog/2.jpg dog/2.cls ...
train-000001.tar
train.index         name, label, shard, offset and size of each image (see `index_file`)
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mae_data.errors import DataError, ImageError, StoreError
from mae_data.sources.cache import cached_index, hash_states
from mae_data.sources.index_file import Index, open_index
from mae_data.sources.source import Fingerprint, Source
from mae_data.sources.store import TIMEOUT, LocalStore, RemoteStore, Store, is_address, open_store

INDEX_ENDING = ".index"
HEADER = 512  # of a tar's member: its last block comes just before the content
SIZE_FIELD = slice(124, 136)
PLAIN_NAME = re.compile(r"[^/\\\0]+\.tar")
AT_ONCE = 16  # reads of one process from a remote store
COPIED_AT_ONCE = 16 << 20


@dataclass(frozen=True)
class ShardMetadata:
    """What an index keeps about its shards.

    Attributes:
        shards: name and bytes of each tar file.
        sha256: hash of names, labels and places of the images.
        duplicates: how many images repeat the name of an earlier one.
    """

    shards: list[tuple[str, int]]
    sha256: str
    duplicates: int


class ShardSource(Source):
    """The images of tar shards.

    Args:
        name: what messages call the source: its index.
        store: where the shards lie.
        index: where each image lies in them.
    """

    def __init__(self, name: str, store: Store, index: Index) -> None:
        self.name = name
        self.labels = index.arrays["labels"]
        self.metadata = index.read_metadata(ShardMetadata)
        self.duplicates = self.metadata.duplicates
        self._shards = [shard for shard, _ in self.metadata.shards]
        self._store = store
        self._index = index
        self._fetched: dict[int, bytes | DataError] = {}

    def path(self, index: int) -> str:
        """Return the name of entry `index` in its shard."""
        return self._index.name(index).decode("utf-8", "backslashreplace")

    def describe(self, index: int) -> str:
        """Return `train.index:17 (shard: name)` for messages about entry `index`, counted from 0."""
        return f"{self.name}:{index} ({self._shard(index)}: {self.path(index)})"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_fetched": {}}

    def fetch(self, indices: Sequence[int]) -> None:
        """Read entries of a remote store at the same time; an error waits for its entry's `read`."""
        if isinstance(self._store, RemoteStore):
            self._store.connect()
            self._fetched |= read_together(self._read, indices)  # threads of a loader share this

    def read(self, index: int) -> bytes:
        """Return the encoded image of entry `index`; see `Source`."""
        found = self._fetched.pop(index, None)
        if isinstance(found, DataError):
            raise found
        return found if found is not None else self._read(index)

    def _read(self, index: int) -> bytes:
        arrays = self._index.arrays
        offset, size = int(arrays["offsets"][index]), int(arrays["sizes"][index])
        data = self._store.read(self._shard(index), offset - HEADER, HEADER + size)
        if len(data) != HEADER + size or _member_size(data) != size:
            raise ImageError(self.describe(index), "the shard is not the one that was indexed; make the index anew")
        return data[HEADER:]

    def fingerprint(self) -> Fingerprint:
        """Return the number of images and the hash of names, labels and places."""
        return {"images": len(self), "sha256": self.metadata.sha256}

    def state(self) -> str:
        """Return a hash of the state of local shards, of remote ones of their sizes in the index; see `Source`."""
        if isinstance(self._store, LocalStore):
            return hash_states(os.path.join(self._store.root, shard) for shard, _ in self.metadata.shards)
        return hashlib.sha256(str(self.metadata).encode()).hexdigest()

    def _shard(self, index: int) -> str:
        return self._shards[self._index.arrays["shards"][index]]


def read_together(read: Callable[[int], bytes], indices: Sequence[int]) -> dict[int, bytes | DataError]:
    """Read entries in several threads; return each one's bytes or error."""
    waiting, found = list(indices), dict[int, bytes | DataError]()

    def run() -> None:
        while waiting:
            try:
                index = waiting.pop()
            except IndexError:  # another thread was faster
                return
            try:
                found[index] = read(index)
            except DataError as error:
                found[index] = error

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def open_shards(
    root: str | os.PathLike[str],
    index_name: str,
    *,
    timeout: float = TIMEOUT,
) -> ShardSource:
    """Open tar shards by their index.

    Args:
        root: folder or address that holds index and shards.
        index_name: such as "train.index".
        timeout: seconds until a store must have answered, all tries included.

    Raises:
        DataError: the index is missing, damaged or not of these shards.
    """
    store = open_store(root, timeout)
    name = f"{os.fspath(root).rstrip('/')}/{index_name}"
    index = _fetch_index(store, index_name, name) if is_address(root) else open_index(Path(root) / index_name)
    shards = _check(index, name).shards
    for shard, size in [] if is_address(root) else shards:
        if (found := store.state(shard)[0]) != size:
            raise StoreError(
                f"{name}: {shard} has {found} bytes and had {size} when it was indexed; make the index anew"
            )
    return ShardSource(name, store, index)


def _fetch_index(store: Store, index_name: str, name: str) -> Index:
    """Copy a remote index into the cache, unless the one there is of the same state."""
    size, state = store.state(index_name)

    def copy(file: BinaryIO) -> None:
        for start in range(0, size, COPIED_AT_ONCE):
            file.write(store.read(index_name, start, min(COPIED_AT_ONCE, size - start)))

    def is_current(index: Index, same_state: bool) -> bool:
        _check(index, name)
        return same_state and bool(state)

    return cached_index(name, f"{size} {state}", copy, is_current)


def _check(index: Index, name: str) -> ShardMetadata:
    """Return an index's metadata; refuse shards with odd names, and images that lie outside of them."""
    try:
        metadata = index.read_metadata(ShardMetadata)
        shards = [(str(shard), int(size)) for shard, size in metadata.shards]
        numbers, offsets, sizes = (index.arrays[key] for key in ("shards", "offsets", "sizes"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name}: not an index of shards; `mae-data index` makes one of tar files") from error
    if not len(index):
        raise DataError(f"{name}: the index is empty")
    if odd := [shard for shard, _ in shards if not PLAIN_NAME.fullmatch(shard)]:
        raise DataError(f"{name}: shard {odd[0]!r} is not the name of a tar file beside the index")
    inside = numbers.min() >= 0 and numbers.max() < len(shards)
    ends = np.array([size for _, size in shards], np.int64)
    if not (inside and (offsets >= HEADER).all() and (sizes >= 0).all() and (sizes <= ends[numbers] - offsets).all()):
        raise DataError(f"{name}: a damaged index: it has images outside of their shards; make it anew")
    return metadata


def _member_size(data: bytes) -> int:
    field = data[SIZE_FIELD]
    if field[:1] == b"\x80":  # of 8 GB and more, in binary
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return -1
