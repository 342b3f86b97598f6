"""Making lists from a folder of images."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_data.errors import DataError, InputError
from mae_data.image_file import EXTENSIONS
from mae_data.list_writer import CLASSES, TRAIN_LIST, VAL_LIST, Entry, list_text, write_lists
from mae_data.sampler import epoch_order

# Names stay bytes from the file system to the list: the result does not depend on the locale.
_EXTENSIONS = tuple(os.fsencode(extension) for extension in EXTENSIONS)


@dataclass(frozen=True)
class FolderIndex:
    """The lists of a folder of images.

    Attributes:
        train: Entries for training.
        val: Entries held out; None, and no list, where there are none.
        classes: Class names by label; empty where images have no labels.
        loose: Images beside the class folders, which are in no list.
    """

    train: list[Entry]
    val: list[Entry] | None
    classes: list[bytes]
    loose: int

    def write(self, root: Path, force: bool = False) -> list[str]:
        """Write the list files into `root` and return their names."""
        texts = {TRAIN_LIST: list_text(self.train)}
        if self.val is not None:
            texts[VAL_LIST] = list_text(self.val)
        if self.classes:
            texts[CLASSES] = b"".join(name + b"\n" for name in self.classes)
        write_lists(root, texts, force)
        return list(texts)


def index_folder(root: Path, val_fraction: float = 0.1, seed: int = 0) -> FolderIndex:
    """Find the images of a folder and their classes.

    `root/train/<class>/` and `root/val/<class>/` are taken as they are; otherwise `root/<class>/` is
    split per class; a folder without class folders gives a list without labels. Labels follow the
    sorted class names.

    Args:
        root: The folder.
        val_fraction: Share of each class that is held out when `root` has no train/ folder.
        seed: Seed of that split.

    Raises:
        InputError: `root` is no folder, or `val_fraction` is not in [0, 1).
        DataError: No images, a class of val/ that train/ lacks, or a file name a list cannot hold.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the folder that holds the images")
    if not 0 <= val_fraction < 1:
        raise InputError(f"--val-fraction {val_fraction} is not a share from 0 to below 1")
    base = os.fsencode(root)
    if (root / "train").is_dir():
        index = _index_split(base, (root / "val").is_dir())
    else:
        index = _index_whole(base, val_fraction, seed)
    if not index.train:
        raise DataError(f"{root} has no images for training ({' '.join(EXTENSIONS)})")
    _refuse_unlistable(index)
    return index


def _index_split(root: bytes, has_val: bool) -> FolderIndex:
    by_class, loose = _images_by_class(root, b"train")
    val_by_class, val_loose = _images_by_class(root, b"val") if has_val else ({}, [])
    classes = list(by_class)
    if not classes:
        val_images = find_images(root, b"val") if has_val else []
        return FolderIndex(_unlabelled(loose), _unlabelled(val_images) or None, [], 0)
    unknown = [os.fsdecode(name) for name in val_by_class if name not in by_class]
    if unknown:
        raise DataError(
            f"{os.fsdecode(root)}/val has classes that train/ has no images of: {', '.join(unknown)}; "
            "move them, or add training images"
        )
    val = _labelled(val_by_class, classes) or None
    return FolderIndex(_labelled(by_class, classes), val, classes, len(loose) + len(val_loose))


def _index_whole(root: bytes, val_fraction: float, seed: int) -> FolderIndex:
    by_class, loose = _images_by_class(root, b"")
    if not by_class:
        return FolderIndex(_unlabelled(loose), None, [], 0)
    train: list[Entry] = []
    val: list[Entry] = []
    for label, paths in enumerate(by_class.values()):
        kept, held_out = split_class(paths, val_fraction, seed, label)
        train += [(path, label) for path in kept]
        val += [(path, label) for path in held_out]
    return FolderIndex(train, val or None, list(by_class), len(loose))


def split_class(paths: Sequence[bytes], val_fraction: float, seed: int, label: int) -> tuple[list[bytes], list[bytes]]:
    """Split the images of one class into (kept, held out), both in order; one at least is kept."""
    count = min(round(len(paths) * val_fraction), max(0, len(paths) - 1))
    held_out = set(epoch_order(len(paths), seed, label)[:count].tolist())
    return (
        [path for place, path in enumerate(paths) if place not in held_out],
        [path for place, path in enumerate(paths) if place in held_out],
    )


def find_images(root: bytes, below: bytes) -> list[bytes]:
    """List the image files in `root/below` and its subfolders, hidden ones left out.

    Returns:
        Paths relative to `root`, sorted.
    """
    found = []
    for folder, subfolders, files in os.walk(os.path.join(root, below)):
        subfolders[:] = [name for name in subfolders if not name.startswith(b".")]
        relative = os.path.relpath(folder, root)
        prefix = b"" if relative == b"." else relative.replace(os.fsencode(os.sep), b"/") + b"/"
        found += [prefix + name for name in files if name.lower().endswith(_EXTENSIONS) and not name.startswith(b".")]
    return sorted(found)


def _images_by_class(root: bytes, below: bytes) -> tuple[dict[bytes, list[bytes]], list[bytes]]:
    """Return the images of each class folder that has some, by name, and the images beside the folders."""
    with os.scandir(os.path.join(root, below)) as listing:
        entries = sorted((entry.name, entry.is_dir()) for entry in listing if not entry.name.startswith(b"."))
    folders = [name for name, is_folder in entries if is_folder]
    images = {name: find_images(root, os.path.join(below, name)) for name in folders}
    loose = [
        os.path.join(below, name) for name, is_folder in entries if not is_folder and name.lower().endswith(_EXTENSIONS)
    ]
    return {name: paths for name, paths in images.items() if paths}, loose


def _labelled(by_class: dict[bytes, list[bytes]], classes: Sequence[bytes]) -> list[Entry]:
    return [(path, label) for label, name in enumerate(classes) for path in by_class.get(name, [])]


def _unlabelled(paths: Sequence[bytes]) -> list[Entry]:
    return [(path, None) for path in paths]


def _refuse_unlistable(index: FolderIndex) -> None:
    """Raise DataError for a name that would not come back from a list as it went in."""
    for path, _ in index.train + (index.val or []):
        try:
            path.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{os.fsdecode(path)!r} is not UTF-8; rename the file") from None
        if path != path.strip() or re.search(rb"[\r\n]", path):
            raise DataError(f"{os.fsdecode(path)!r} has a line break or outer spaces; rename the file")
