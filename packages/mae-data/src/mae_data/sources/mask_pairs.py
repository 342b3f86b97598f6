"""Images with a mask each: list lines `image mask`, or folders `images` and `masks` with equal names."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mae_data.errors import DataError
from mae_data.sources.annotated_list import ListedFiles, read_annotated
from mae_data.sources.folders.folder_scan import scan_folder
from mae_data.sources.list_file import outside_fault
from mae_data.sources.open_source import PARTS
from mae_data.sources.source import Fingerprint

_SHOWN = 10


@dataclass(frozen=True)
class MaskPairs:
    """Images and their masks.

    Attributes:
        images, masks: N each, in the same order.
    """

    images: ListedFiles
    masks: ListedFiles

    def fingerprint(self) -> Fingerprint:
        """Return the number of images and a hash of both names."""
        both = [source.fingerprint()["sha256"] for source in (self.images, self.masks)]
        return {"images": len(self.images), "sha256": hashlib.sha256("".join(both).encode()).hexdigest()}


def open_pairs(
    root: str | os.PathLike[str],
    list_file: str | os.PathLike[str],
    *,
    allow_outside: bool = False,
    opt_in: str = "allow_outside=True",
) -> MaskPairs:
    """Open the images of a data set and the mask of each.

    | `root`                              | a pair is                                                              |
    |-------------------------------------|------------------------------------------------------------------------|
    | a folder that holds the list        | a line `image mask`, of two paths below it; with spaces in them, a tab |
    |                                     | parts the two                                                          |
    | a folder with images/ and masks/    | images/train/a.jpg and masks/train/a.png, in whatever subfolders;      |
    |                                     | without images/train all of images/ are for training                   |

    Args:
        root: the folder.
        list_file: the list below it; the usual names stand for the parts "train" and "val" of folders.
        allow_outside: accept absolute paths and `..` in a list.
        opt_in: how the reader of a message sets `allow_outside`.

    Raises:
        DataError: a pair is not whole, or there is none.
    """
    path, part = Path(root) / list_file, PARTS.get(os.fspath(list_file))
    if path.is_file():
        return _listed(path, os.fspath(root), allow_outside, opt_in)
    if part and (Path(root) / "images").is_dir():
        return _from_folders(Path(root), part)
    raise DataError(
        f"{path}: there is no such list, and {root} has no folder images/; write lines `image mask`, or make folders"
        " images/ and masks/"
    )


def _listed(path: Path, root: str, allow_outside: bool, opt_in: str) -> MaskPairs:
    def split(line: bytes) -> tuple[bytes, bytes]:
        name, *label = line.rsplit(None, 1)
        if label and label[0].isdigit() and not os.path.exists(os.path.join(os.fsencode(root), label[0])):
            raise DataError(
                f"{path} names classes (class {label[0].decode()} beside {os.fsdecode(name)}), and masks are needed:"
                " write lines `image mask`, or make folders images/ and masks/ with equal names, without lists"
            )
        words = [word.strip() for word in (line.split(b"\t") if b"\t" in line else line.split())]
        if len(words) != 2:
            raise ValueError(
                f"{len(words)} paths, two are needed: `image mask`, parted by a tab where names have spaces"
            )
        if fault := outside_fault(words[1], allow_outside, opt_in):
            raise ValueError(fault)
        return words[0], words[1]

    images, masks = read_annotated(path, root, split, allow_outside, opt_in)
    return MaskPairs(images, ListedFiles(str(path), root, masks, images.lines))


def _from_folders(root: Path, part: str) -> MaskPairs:
    below = part if (root / "images" / "train").is_dir() else ""
    if part == "val" and not below:
        raise DataError(f"{root}/images has no folders train/ and val/, so there is nothing to score; make them")
    if not (root / "images" / below).is_dir():
        raise DataError(f"{root}/images has no folder {part}/; make one, with masks/{part}/ beside it")
    images = scan_folder(os.fsencode(root / "images" / below)).images
    masks = {os.path.splitext(name)[0]: name for name in scan_folder(os.fsencode(root / "masks" / below)).images}
    stems = [os.path.splitext(name)[0] for name in images]
    if missing := [stem for stem in stems if stem not in masks]:
        shown = ", ".join(os.fsdecode(stem) for stem in missing[:_SHOWN])
        raise DataError(f"{root}/masks/{below}: no mask for {len(missing)} of {len(images)} images: {shown}")
    if not images:
        raise DataError(f"{root}/images/{below}: there are no images")
    prefixes = [os.fsencode(os.path.join(kind, below, "")) for kind in ("images", "masks")]
    names = [prefixes[0] + name for name in images], [prefixes[1] + masks[stem] for stem in stems]
    places = range(len(images))
    return MaskPairs(*(ListedFiles(os.fspath(root), os.fspath(root), each, places) for each in names))
