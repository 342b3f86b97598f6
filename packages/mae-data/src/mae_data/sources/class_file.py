"""`classes.txt` in a data folder: the classes' names, a line each, the first of class 0; masks are drawn in colours.

A colour may stand behind each name: `water #4363d8`.
"""

import colorsys
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, InputError

CLASSES = "classes.txt"
TRAIN_LIST = "train_list.txt"
_COLOUR = re.compile(r"\s+#([0-9a-fA-F]{6})\s*$")
_GOLDEN = 0.618034  # of a circle: neighbours in number are far apart in hue


def read_classes(root: str | Path) -> list[str]:
    """Return the names of the classes, without colours; none where the folder has no such file."""
    return [name for name, _ in _lines(root)]


def class_colours(root: str | Path, count: int) -> npt.NDArray[np.uint8]:
    """Return the colours of classes, [count, 3]: those of classes.txt, else ones that are always the same."""
    given = dict(enumerate(colour for _, colour in _lines(root)))
    return np.array([given.get(number) or _fixed_colour(number) for number in range(count)], np.uint8)


def _lines(root: str | Path) -> list[tuple[str, tuple[int, int, int] | None]]:
    file = Path(root) / CLASSES
    with suppress(OSError):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        return [_split_colour(line) for line in lines]
    return []


def _split_colour(line: str) -> tuple[str, tuple[int, int, int] | None]:
    if not (found := _COLOUR.search(line)):
        return line, None
    red, green, blue = bytes.fromhex(found[1])
    return line[: found.start()], (red, green, blue)


def _fixed_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class: 0, often the ground, is grey; hues of the next are far apart."""
    if not number:
        return 64, 64, 64
    shade = number // 8 % 3
    rgb = colorsys.hsv_to_rgb(number * _GOLDEN % 1, (0.75, 0.45, 0.9)[shade], (0.95, 1.0, 0.6)[shade])
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


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
    if (Path(root) / "images").is_dir() and (Path(root) / "masks").is_dir():
        return 0  # images with masks: these folders are no classes
    from mae_data.sources.open_source import open_source

    with suppress(DataError, InputError):  # whoever reads the images reports what is wrong
        source = open_source(root)
        return source.num_classes if all(source.class_folders().values()) else 0
    return 0
