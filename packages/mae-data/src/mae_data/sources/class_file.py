"""`classes.txt` in a data folder: the classes' names, a line each, the first of class 0."""

from contextlib import suppress
from pathlib import Path

from mae_data.errors import DataError, InputError

CLASSES = "classes.txt"
TRAIN_LIST = "train_list.txt"


def read_classes(root: str | Path) -> list[str]:
    """Return the names of the classes; none where the folder has no such file."""
    file = Path(root) / CLASSES
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return []


def count_classes(root: str | Path, list_file: str = TRAIN_LIST) -> int:
    """Return how many classes a data set names: in classes.txt, by folders or in a table; 0 where nothing names any.

    Args:
        root: see `sources.open_source`.
        list_file: the list of training; where it is there, its labels are numbers, and folders do not count.
    """
    if names := read_classes(root):
        return len(names)
    if list_file != TRAIN_LIST or (Path(root) / list_file).exists() or not Path(root).exists():
        return 0
    from mae_data.sources.open_source import open_source

    with suppress(DataError, InputError):  # whoever reads the images reports what is wrong
        source = open_source(root)
        return source.num_classes if all(source.class_folders().values()) else 0
    return 0
