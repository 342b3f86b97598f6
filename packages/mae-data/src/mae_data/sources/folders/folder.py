"""A folder of images without lists: what lies in it is the data set."""

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError
from mae_data.images.formats import EXTENSIONS
from mae_data.sources.cache import SETTLED_NS, cached_index
from mae_data.sources.file_source import FileSource
from mae_data.sources.folders.folder_index import FolderIndex, index_folder
from mae_data.sources.folders.folder_scan import describe_left_out, folder_state
from mae_data.sources.index_file import Index, IndexWriter
from mae_data.sources.source import NO_LABEL

VAL_FRACTION = 0.1  # as `mae-data index` holds out
BLOCK = 100_000


@dataclass(frozen=True)
class FolderMetadata:
    """What an index keeps about its folder.

    Attributes:
        root: absolute path of the folder.
        made: when the index was begun, in ns since 1970.
        folders: state of each folder that was read, by its path below the root; see `Scan`.
        sha256: hash of names and labels.
        notes: lines for the start of a run.
    """

    root: str
    made: int
    folders: dict[str, str]
    sha256: str
    notes: list[str]


class FolderSource(FileSource):
    """The images of a folder."""

    def __init__(self, root: str, index: Index) -> None:
        metadata = index.read_metadata(FolderMetadata)
        super().__init__(root, root, index, metadata.sha256)
        self.notes = tuple(metadata.notes)

    def describe(self, index: int) -> str:
        """Return `folder/path` for messages about entry `index`."""
        return os.path.join(self.root, self.path(index))

    def class_folders(self, labels: npt.NDArray[np.int64] | None = None) -> dict[int, str]:
        """Name the classes by their folders; images in arrays have none, and are named by their labels."""
        return {label: name or str(label) for label, name in super().class_folders(labels).items()}


def open_folder(
    root: str | os.PathLike[str], part: str, *, labelled: bool, num_classes: int | None = None
) -> FolderSource:
    """Find the images of a folder, or take the index that was made of it last time, where nothing has changed.

    With labels, the folder is read as `mae-data index` reads it: train/ and val/ with a folder per class, or class
    folders of which a tenth is held out. Without, all images count, in whatever subfolder, or those of train/ and
    val/ where the folder has them.

    Args:
        root: the folder.
        part: "train" or "val".
        labelled: whether labels are needed.
        num_classes: when given, labels must be below it.

    Raises:
        DataError: no images, or no class folders where labels are needed, or too many.
    """
    name = f"{os.path.realpath(root)}\0{part}{' with labels' if labelled else ''}"
    index = cached_index(name, "", lambda file: _index_part(Path(root), part, labelled, IndexWriter(file)), _is_current)
    source = FolderSource(os.fspath(root), index)
    if labelled and num_classes is not None and source.num_classes > num_classes:
        raise DataError(
            f"{source.name}: {source.num_classes} class folders are more than the {num_classes} classes of the model; "
            "give the model as many"
        )
    return source


def _is_current(index: Index, same_state: bool) -> bool:
    """Return whether no folder has changed; one that changed while it was read counts as changed."""
    metadata = index.read_metadata(FolderMetadata)
    return all(
        folder_state(os.path.join(os.fsencode(metadata.root), os.fsencode(below))) == state
        and metadata.made - int(state.split()[-1]) >= SETTLED_NS
        for below, state in metadata.folders.items()
    )


def _index_part(root: Path, part: str, labelled: bool, writer: IndexWriter) -> None:
    made = time.time_ns()
    found = index_folder(root, VAL_FRACTION, labelled=labelled)
    if labelled and not found.classes:
        raise DataError(
            f"{root} has neither lists nor class folders, and labels are needed; make a folder for each class,"
            " or name a list of `path label` lines"
        )
    entries = found.train if part == "train" else found.val
    note = ""
    if entries is None and not labelled:
        entries, note = found.train, "; no val/ folder, so these are the images of training"
    if not entries:
        raise DataError(f"{root} has no images for the part {part!r} ({' '.join(EXTENSIONS)}); add a folder {part}/")
    paths, labels = zip(*entries, strict=True)
    for start in range(0, len(paths), BLOCK):
        writer.add_names(b"".join(path + b"\n" for path in paths[start : start + BLOCK]))
    numbers = np.array([NO_LABEL if label is None else label for label in labels], np.int64)
    folders = {os.fsdecode(below): state for below, state in found.folders.items()}
    notes = _notes(root, part, found, len(entries), note)
    metadata = FolderMetadata(os.path.abspath(root), made, folders, _hash(paths, numbers), notes)
    ends = np.cumsum([len(path) + 1 for path in paths], dtype=np.int64)
    writer.finish({"ends": ends, "labels": numbers}, metadata)


def _notes(root: Path, part: str, found: FolderIndex, images: int, note: str) -> list[str]:
    held_out = f"; {len(found.val)} held out as val" if found.split and found.val and part == "train" else ""
    kind = f"classes, from {' and '.join(found.arrays)}" if found.arrays else "class folders"
    labels = f"{len(found.classes)} {kind}" if found.classes else "labels ignored"
    left_out = describe_left_out(found.left_out)
    line = f"{root}: no {part}_list.txt, so what lies in it counts: {images:,} images, {labels}{held_out}{note}"
    return [line + (f"; {left_out}" if left_out else "")]


def _hash(paths: Sequence[bytes], labels: np.ndarray) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path + b"\0")
    whole.update(labels.astype("<i8").tobytes())
    return whole.hexdigest()
