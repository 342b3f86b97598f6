"""The lists of a folder of images: its classes, and what is held out."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mae_data.errors import DataError, InputError
from mae_data.images.formats import EXTENSIONS
from mae_data.loading.sampler import epoch_order
from mae_data.sources.folders.array_files import ArrayFiles, find_arrays
from mae_data.sources.folders.file_slices import Grouping, Slicing, make_grouping
from mae_data.sources.folders.folder_scan import Scan, folder_state, scan_folder
from mae_data.sources.list_file import CLASSES, TRAIN_LIST, VAL_LIST, Entry, list_text, write_lists
from mae_data.sources.source import NO_LABEL

LOOSE = "images that are in no class folder"
OTHER_PARTS = "images beside train/ and val/"


@dataclass(frozen=True)
class FolderIndex:
    """The lists of a folder of images.

    Attributes:
        train: entries for training.
        val: entries held out; None, and no list, where there are none.
        classes: class names by label; empty where images have no labels.
        left_out: what is in no list, and how many of each kind.
        folders: state of each folder that was read; see `Scan`.
        split: whether `val` was taken from the images at random, as the folder has no train/.
        arrays: the files that hold all images of a part each, where such are in the folder.
    """

    train: list[Entry]
    val: list[Entry] | None
    classes: list[bytes]
    left_out: Counter[str] = field(default_factory=Counter)
    folders: dict[bytes, str] = field(default_factory=dict)
    split: bool = False
    arrays: tuple[str, ...] = ()

    def unscored(self) -> list[bytes]:
        """Return the names of the classes of which no image is held out."""
        scored = {label for _, label in self.val or ()}
        return [name for label, name in enumerate(self.classes) if label not in scored]

    def write(self, root: Path, force: bool = False) -> list[str]:
        """Write the list files into `root` and return their names."""
        refuse_unlistable(self.train + (self.val or []))
        texts = {TRAIN_LIST: list_text(self.train)}
        if self.val is not None:
            texts[VAL_LIST] = list_text(self.val)
        if self.classes:
            texts[CLASSES] = b"".join(name + b"\n" for name in self.classes)
        write_lists(root, texts, force)
        return list(texts)


def index_folder(
    root: Path,
    val_fraction: float = 0.1,
    seed: int = 0,
    labelled: bool | None = None,
    group_by: str | None = None,
    slicing: Slicing | None = None,
) -> FolderIndex:
    """Find the images of a folder and their classes.

    `root/train/<class>/` and `root/val/<class>/` are taken as they are; otherwise `root/<class>/` is
    split per class. Labels follow the sorted class names. Without labels, images count in any subfolder, and
    none are held out, but for those of `root/val/` where the folder has train/. Arrays of images, with labels in
    arrays, count instead of files; see `array_files`.

    Args:
        root: the folder.
        val_fraction: share of each class that is held out when `root` has no train/ folder.
        seed: seed of that split.
        labelled: whether subfolders are classes; by default where there are some.
        group_by: what keeps images together in the split: "folder", "patient" (PatientID of DICOM), or a regular
            expression whose match (its first group, where it has one) in the path names the group. None: each image by
            itself.
        slicing: which slices of volumes and series are images; see `scan_folder`.

    Raises:
        InputError: `root` is no folder, `val_fraction` is not in [0, 1), or `group_by` is no regular expression.
        DataError: no images, or a class of val/ that train/ lacks.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the folder that holds the images")
    if not 0 <= val_fraction < 1:
        raise InputError(f"--val-fraction {val_fraction} is not a share from 0 to below 1")
    if arrays := find_arrays(root):
        if group_by:
            raise InputError(f"--group-by {group_by}: arrays do not say what belongs together; write lists of groups")
        return _index_arrays(root, arrays, val_fraction, seed, labelled)
    scan = scan_folder(os.fsencode(root), slicing)
    if (root / "train").is_dir():
        index = _index_parts(root, scan, labelled)
    else:
        index = _index_whole(scan, val_fraction, seed, labelled, make_grouping(group_by, os.fsencode(root)))
    if not index.train:
        raise DataError(f"{root} has no list, and no images for training ({' '.join(EXTENSIONS)})")
    return index


def _index_arrays(
    root: Path, arrays: dict[str, ArrayFiles], val_fraction: float, seed: int, labelled: bool | None
) -> FolderIndex:
    has_labels = arrays["train"].labels is not None if labelled is None else labelled
    parts = {part: files.entries(has_labels) for part, files in arrays.items()}
    train, val = parts["train"], parts.get("val")
    classes = [
        b"%d" % label for label in range(max((label for _, label in train if label is not None), default=-1) + 1)
    ]
    names = [name for files in arrays.values() for name in files.files()]
    folders = {name: folder_state(os.path.join(os.fsencode(root), name)) for name in (b"", *names)}
    if is_split := val is None and bool(classes):
        by_class: dict[int, list[bytes]] = {}
        for name, label in train:
            by_class.setdefault(NO_LABEL if label is None else label, []).append(name)
        held_out = {
            name
            for label, paths in by_class.items()
            if label != NO_LABEL
            for name in split_class(paths, val_fraction, seed, label)[1]
        }
        train, val = ([entry for entry in train if (entry[0] in held_out) is part] for part in (False, True))
    shown = tuple(files.images.name for files in arrays.values())
    return FolderIndex(train, val or None, classes, Counter(), folders, is_split, shown)


def _index_parts(root: Path, scan: Scan, labelled: bool | None) -> FolderIndex:
    train = [path for path in scan.images if path.startswith(b"train/")]
    val = [path for path in scan.images if path.startswith(b"val/")]
    left_out = scan.left_out + Counter({OTHER_PARTS: len(scan.images) - len(train) - len(val)})
    by_class, loose = _by_class(train, 1)
    if labelled is False or not by_class:
        return FolderIndex(_unlabelled(train), _unlabelled(val) or None, [], left_out, scan.folders)
    val_by_class, val_loose = _by_class(val, 1)
    unknown = [os.fsdecode(name) for name in val_by_class if name not in by_class]
    if unknown:
        raise DataError(
            f"{root}/val has classes that train/ has no images of: {', '.join(unknown)}; "
            "move them, or add training images"
        )
    classes = list(by_class)
    left_out[LOOSE] += loose + val_loose
    entries = _labelled(by_class, classes), _labelled(val_by_class, classes) or None
    return FolderIndex(*entries, classes, left_out, scan.folders)


def _index_whole(
    scan: Scan, val_fraction: float, seed: int, labelled: bool | None, grouping: Grouping | None
) -> FolderIndex:
    by_class, loose = _by_class(scan.images, 0)
    if labelled is False or not by_class:
        return FolderIndex(_unlabelled(scan.images), None, [], scan.left_out, scan.folders)
    train: list[Entry] = []
    val: list[Entry] = []
    if grouping:
        return _split_by_groups(scan, by_class, loose, val_fraction, seed, grouping)
    for label, paths in enumerate(by_class.values()):
        kept, held_out = split_class(paths, val_fraction, seed, label)
        train += [(path, label) for path in kept]
        val += [(path, label) for path in held_out]
    left_out = scan.left_out + Counter({LOOSE: loose})
    return FolderIndex(train, val or None, list(by_class), left_out, scan.folders, split=True)


def _split_by_groups(
    scan: Scan, by_class: dict[bytes, list[bytes]], loose: int, val_fraction: float, seed: int, grouping: Grouping
) -> FolderIndex:
    """Hold out whole groups, in random order: each that brings the shares nearer to those wanted."""
    entries = _labelled(by_class, list(by_class))
    group_of = grouping.groups([path for path, _ in entries])
    counts: dict[bytes, Counter[int]] = {}
    for path, label in entries:
        counts.setdefault(group_of[path], Counter())[label or 0] += 1
    if val_fraction and len(counts) < 2:
        raise InputError(f"--group-by makes one group of all {len(entries)} images: nothing can be held out")
    missing = {label: round(len(paths) * val_fraction) for label, paths in enumerate(by_class.values())}
    kept = Counter({label: len(paths) for label, paths in enumerate(by_class.values())})
    names, held_out = sorted(counts), set[bytes]()
    for place in epoch_order(len(names), seed, 0).tolist():
        group = counts[names[place]]
        nearer = sum(abs(missing[label] - n) - abs(missing[label]) for label, n in group.items()) < 0
        if nearer and all(kept[label] > n for label, n in group.items()):
            held_out.add(names[place])
            kept -= group
            missing = {label: number - group[label] for label, number in missing.items()}
    train, val = ([e for e in entries if (group_of[e[0]] in held_out) is part] for part in (False, True))
    left_out = scan.left_out + Counter({LOOSE: loose})
    return FolderIndex(train, val or None, list(by_class), left_out, scan.folders, split=True)


def split_class(paths: Sequence[bytes], val_fraction: float, seed: int, label: int) -> tuple[list[bytes], list[bytes]]:
    """Split the images of one class into (kept, held out), both in order; one at least is kept."""
    count = min(round(len(paths) * val_fraction), max(0, len(paths) - 1))
    held_out = set(epoch_order(len(paths), seed, label)[:count].tolist())
    return (
        [path for place, path in enumerate(paths) if place not in held_out],
        [path for place, path in enumerate(paths) if place in held_out],
    )


def _by_class(paths: Sequence[bytes], depth: int) -> tuple[dict[bytes, list[bytes]], int]:
    """Sort paths into the folders at a depth, by name; also count the images that are in none."""
    found: dict[bytes, list[bytes]] = {}
    loose = 0
    for path in paths:
        folders = path.split(b"/")[:-1]
        if len(folders) > depth:
            found.setdefault(folders[depth], []).append(path)
        else:
            loose += 1
    return {name: found[name] for name in sorted(found)}, loose


def _labelled(by_class: dict[bytes, list[bytes]], classes: Sequence[bytes]) -> list[Entry]:
    return [(path, label) for label, name in enumerate(classes) for path in by_class.get(name, [])]


def _unlabelled(paths: Sequence[bytes]) -> list[Entry]:
    return [(path, None) for path in paths]


def refuse_unlistable(entries: Sequence[Entry]) -> None:
    """Raise DataError for a name that would not come back from a list as it went in."""
    for path, _ in entries:
        try:
            path.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{os.fsdecode(path)!r} is not UTF-8; rename the file") from None
        if path != path.strip() or re.search(rb"[\r\n]", path):
            raise DataError(f"{os.fsdecode(path)!r} has a line break or outer spaces; rename the file")
