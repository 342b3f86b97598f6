"""`classes.txt` in a data folder: the classes' names, a line each, the first of class 0."""

from contextlib import suppress
from pathlib import Path

CLASSES = "classes.txt"


def read_classes(root: str | Path) -> list[str]:
    """Return the names of the classes; none where the folder has no such file."""
    file = Path(root) / CLASSES
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return []


def count_classes(root: str | Path) -> int:
    """Return how many classes a data folder names; 0 where it names none."""
    return len(read_classes(root))
