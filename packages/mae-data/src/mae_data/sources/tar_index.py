"""Making the index of tar files in WebDataset's layout, whoever wrote them."""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mae_data.errors import DataError
from mae_data.files import write_whole
from mae_data.images.formats import EXTENSIONS
from mae_data.parallel import map_tasks
from mae_data.sources.index_file import Array, IndexWriter
from mae_data.sources.shards import ShardMetadata
from mae_data.sources.source import MAX_LABEL, NO_LABEL

LABEL_ENDING = "cls"
_ENDINGS = tuple(ending[1:] for ending in EXTENSIONS)
_LONGEST_LABEL = 32
_END_MARK = bytes(1024)


@dataclass
class TarImage:
    """An image of a tar file: where its content lies, and its label."""

    name: str
    offset: int
    size: int
    label: int = NO_LABEL


def write_tar_index(folder: Path, shards: Sequence[str], index: Path, workers: int = 1) -> int:
    """Index the images of tar files that lie in one folder.

    Args:
        folder: the folder.
        shards: names of the tar files, in the order that their images are to have.
        index: the index file to write.
        workers: number of processes.

    Returns:
        how many images there are.

    Raises:
        DataError: a tar file is damaged, compressed or without images, or a label is none.
    """
    found = list(map_tasks(scan_tar, [folder / shard for shard in shards], workers))
    entries = [entry for several in found for entry in several]
    names = [os.fsencode(entry.name).replace(b"\n", b"_") for entry in entries]
    arrays: dict[str, Array] = {
        "ends": np.cumsum([len(name) + 1 for name in names], dtype=np.int64),
        "labels": np.array([entry.label for entry in entries], np.int64),
        "shards": np.repeat(np.arange(len(shards), dtype=np.int32), [len(several) for several in found]),
        "offsets": np.array([entry.offset for entry in entries], np.int64),
        "sizes": np.array([entry.size for entry in entries], np.int64),
    }
    text = b"".join(name + b"\n" for name in names)
    digest = hashlib.sha256(text)
    for array in arrays.values():
        digest.update(array.tobytes())
    sizes = [(shard, (folder / shard).stat().st_size) for shard in shards]
    metadata = ShardMetadata(sizes, digest.hexdigest(), len(names) - len(set(names)))

    def fill(file: BinaryIO) -> None:
        writer = IndexWriter(file)
        writer.add_names(text)
        writer.finish(arrays, metadata)

    write_whole(index, fill)
    return len(entries)


def scan_tar(path: Path) -> list[TarImage]:
    """Find the images of a tar file: of the members that share a name up to its first dot, the first image.

    Raises:
        DataError: see `write_tar_index`.
    """
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            size = os.fstat(file.fileno()).st_size
            entries = list(_entries(tar, path, size))
            file.seek(max(0, size - len(_END_MARK)))
            if file.read() != _END_MARK:  # tarfile takes a file that ends within a header for a whole one
                raise DataError(f"{path} is cut short: the mark at its end is missing; make or copy it again")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{path} is not an uncompressed tar file, or is damaged ({error}); a compressed one cannot be read in parts"
        ) from error
    if not entries:
        raise DataError(f"{path} holds no image ({' '.join(EXTENSIONS)})")
    return entries


def _entries(tar: tarfile.TarFile, path: Path, size: int) -> Iterator[TarImage]:
    key, entry, label = "", None, NO_LABEL
    for member in tar:
        if not member.isreg() or member.issparse():
            continue
        if member.offset_data + member.size > size:
            raise DataError(f"{path} is cut short within {member.name}; make or copy it again")
        own_key, ending = _split_name(member.name)
        if own_key != key:
            if entry:
                yield entry
            key, entry, label = own_key, None, NO_LABEL
        if ending == LABEL_ENDING:
            label = _read_label(tar, member, path)
        elif ending in _ENDINGS and entry is None:
            entry = TarImage(member.name, member.offset_data, member.size)
        if entry:
            entry.label = label
    if entry:
        yield entry


def _split_name(name: str) -> tuple[str, str]:
    folder, _, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return f"{folder}/{stem}", ending.lower()


def _read_label(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    file = tar.extractfile(member)
    text = file.read(_LONGEST_LABEL).strip() if file else b""
    if not (text.isdigit() and len(text) <= len(str(MAX_LABEL)) and int(text) <= MAX_LABEL):
        shown = text.decode(errors="backslashreplace")
        raise DataError(f"{path}: {member.name}: {shown!r} is not a label; write a number from 0")
    return int(text)
