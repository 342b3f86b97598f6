"""Finding the images of a folder, and saying what is left out."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mae_data.images.formats import EXTENSIONS
from mae_data.images.volumes.dicom import can_read_dicom
from mae_data.sources.folders.file_slices import Slicing, each_slice, is_dicom_name, looks_like_dicom, may_be_dicom

# Names stay bytes from the file system to the list: the result does not depend on the locale.
_EXTENSIONS = tuple(os.fsencode(extension) for extension in EXTENSIONS)
_SHOWN = 4


@dataclass
class Scan:
    """What lies in a folder.

    Attributes:
        images: paths of the images below the folder, sorted.
        folders: for each folder that was read, its state: another one after any change of its names; and for each
            file of many images.
        left_out: how many things of each kind were left out.
    """

    images: list[bytes] = field(default_factory=list)
    folders: dict[bytes, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def scan_folder(root: bytes, slicing: Slicing | None = None) -> Scan:
    """Find the images of a folder and all its subfolders.

    Links are followed, after all else: each folder is read once, by its own name where it lies below `root`.
    Hidden names are left out. Of files that hold many images, each is named; see `images.volumes.slices`.

    Args:
        root: the folder.
        slicing: which slices of volumes and of series are images; None: all along the last axis.
    """
    scan, seen = Scan(), set[tuple[int, int]]()
    folders, links = [b""], list[bytes]()
    while folders or links:
        below = (folders or links).pop()
        try:
            found = os.stat(os.path.join(root, below))
            if (found.st_dev, found.st_ino) in seen:
                scan.left_out["links to folders that are read already"] += 1
                continue
            seen.add((found.st_dev, found.st_ino))
            inner = _read_folder(scan, root, below)
        except OSError:
            scan.left_out["folders that cannot be read"] += 1
            continue
        folders += sorted((name for name, is_link in inner if not is_link), reverse=True)
        links += sorted((name for name, is_link in inner if is_link), reverse=True)
    scan.images.sort()
    scan.images = _sliced(scan, root, slicing or Slicing())
    return scan


def _sliced(scan: Scan, root: bytes, slicing: Slicing) -> list[bytes]:
    """Name the images in the files; without pydicom, DICOM files are left out where there are others."""
    images = scan.images
    if not can_read_dicom() and (others := [path for path in images if not is_dicom_name(path)]):
        scan.left_out["DICOM files (pydicom is not installed)"] += len(images) - len(others)
        images = others
    found = list(each_slice(root, images, slicing))
    volumes = {name.rpartition(b"[")[0] for name in found if name.endswith(b"]")} & set(images)
    scan.folders |= {path: folder_state(os.path.join(root, path)) for path in volumes}  # their slices may change
    return found


def _read_folder(scan: Scan, root: bytes, below: bytes) -> list[tuple[bytes, bool]]:
    """Add a folder's images; return its subfolders and whether they are links."""
    folder = os.path.join(root, below)
    scan.folders[below] = folder_state(folder)
    with os.scandir(folder) as entries:
        return [(below + e.name + b"/", e.is_symlink()) for e in entries if _take(scan, below, e)]


def _take(scan: Scan, below: bytes, entry: "os.DirEntry[bytes]") -> bool:
    """Add an image, or count what is none; return whether the entry is a folder to go into."""
    is_image = entry.name.lower().endswith(_EXTENSIONS) or (
        may_be_dicom(entry.name) and entry.is_file() and looks_like_dicom(entry.path)
    )
    if entry.name.startswith(b"."):
        scan.left_out["hidden images or folders"] += is_image or entry.is_dir()
    elif entry.is_dir():
        return True
    elif not is_image:
        ending = os.fsdecode(os.path.splitext(entry.name)[1]) or "no ending"
        scan.left_out[f"other files ({ending})"] += 1
    elif entry.is_file():
        scan.images.append(below + entry.name)
    else:
        scan.left_out["images that are broken links"] += 1
    return False


def folder_state(folder: bytes) -> str:
    """Describe a folder by what changes with each name that comes or goes."""
    found = os.stat(folder)
    return f"{found.st_dev} {found.st_ino} {found.st_mtime_ns}"


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """Return `left out: 3 hidden images or folders, ...`; empty for nothing."""
    counts = [(what, count) for what, count in Counter(left_out).most_common() if count]
    shown = [f"{count} {what}" for what, count in counts[:_SHOWN]]
    if rest := sum(count for _, count in counts[_SHOWN:]):
        shown.append(f"{rest} more")
    return f"left out: {', '.join(shown)}" if shown else ""
