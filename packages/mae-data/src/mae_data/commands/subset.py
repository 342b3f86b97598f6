"""Lists of few labels: the same number of images of each class, taken from a list at random."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mae_data.errors import InputError
from mae_data.files import write_atomically
from mae_data.loading.sampler import epoch_order
from mae_data.sources.image_list import read_list
from mae_data.sources.list_file import Entry, list_text


def draw_subset(labels: npt.NDArray[np.int64], per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose `per_class` entries of each class at random, or all of a class that has fewer.

    The choice depends on the seed, the class and its number of entries alone, and a larger `per_class` adds to a
    smaller one's.

    Args:
        labels: int64 [N], 0 or above.
        per_class: 1 or above.
        seed: 0 to 2**64 - 1.

    Returns:
        Indices in rising order, int64.

    Examples:
        >>> import numpy as np
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> few = draw_subset(labels, per_class=2, seed=0)
        >>> labels[few].tolist()
        [0, 0, 1, 1]
    """
    chosen = []
    for label in np.unique(labels).tolist():
        places = np.flatnonzero(labels == label)
        chosen.append(places[epoch_order(len(places), seed, label)[:per_class]])
    return np.sort(np.concatenate(chosen))


def subset_of_list(
    list_file: Path, per_class: int, seed: int = 0, output: Path | None = None, force: bool = False
) -> tuple[Path, dict[int, int]]:
    """Write a list of few images of each class, with the labels that the whole list has; see `draw_subset`.

    Args:
        list_file: a list with labels.
        per_class: images of each class.
        seed: seed of the choice.
        output: file to write; by default beside the list, named after it, the number and the seed.
        force: replace a file that exists.

    Returns:
        the file, and the number of images of each class that has fewer.

    Raises:
        InputError: the file is there, or cannot be written.
        DataError: the list is faulty or has no labels.
    """
    # Paths of a list are copied as they are, whether they leave its folder or not.
    images = read_list(list_file.name, list_file.parent, allow_outside=True)
    path = output or list_file.with_name(f"{list_file.stem}_{per_class}_per_class_seed{seed}{list_file.suffix}")
    if path.exists() and path.samefile(list_file):
        raise InputError(f"{path} is the list itself; write to another file")
    if path.exists() and not force:
        raise InputError(f"{path} is there already; use --force to replace it")
    counts = np.bincount(images.labels)
    entries: Iterator[Entry] = (
        (images.path(int(i)).encode(), int(images.labels[i])) for i in draw_subset(images.labels, per_class, seed)
    )
    write_atomically(path, list_text(entries))
    return path, {label: int(n) for label, n in enumerate(counts) if 0 < n < per_class}
