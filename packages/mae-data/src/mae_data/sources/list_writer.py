"""Writing lists: all or nothing, and nothing is overwritten unasked."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mae_data.errors import InputError
from mae_data.files import write_atomically
from mae_data.sources.class_file import CLASSES

TRAIN_LIST = "train_list.txt"
VAL_LIST = "val_list.txt"

Entry = tuple[bytes, int | None]  # path below the root, label


def list_text(entries: Iterable[Entry]) -> bytes:
    """Format list lines; an entry without a label is its path alone."""
    return b"".join(path + (b"\n" if label is None else b" %d\n" % label) for path, label in entries)


def write_lists(root: Path, texts: Mapping[str, bytes], force: bool) -> None:
    """Write the list files of a data set.

    Args:
        root: folder of the data set.
        texts: content by file name; of train list, val list and classes, those that are not named are
            removed, since an old one would not fit the new ones.
        force: replace files that exist.

    Raises:
        InputError: a file exists and `force` is not set, or the folder cannot be written.
    """
    refuse_existing(root, force)
    for name, text in texts.items():
        write_atomically(root / name, text)
    for name in {TRAIN_LIST, VAL_LIST, CLASSES} - texts.keys():
        (root / name).unlink(missing_ok=True)


def refuse_existing(root: Path, force: bool) -> None:
    """Raise InputError when `root` has list files already and `force` is not set."""
    existing = [name for name in (TRAIN_LIST, VAL_LIST, CLASSES) if (root / name).exists()]
    if existing and not force:
        raise InputError(f"{root} already has {', '.join(existing)}; use --force to replace")
