"""From what -data_path is to the source of its kind: the one place that chooses."""

import os
from pathlib import Path

from mae_data.image_list import read_list
from mae_data.list_writer import TRAIN_LIST, VAL_LIST
from mae_data.sources.folder import open_folder
from mae_data.sources.source import Source

LIST_ENDING = "_list.txt"


def open_source(
    root: str | os.PathLike[str],
    list_file: str | os.PathLike[str] = TRAIN_LIST,
    *,
    labels: str = "required",
    num_classes: int | None = None,
    allow_outside: bool = False,
    opt_in: str = "allow_outside=True",
) -> Source:
    """Open the images of a data set.

    | `root`                                                         | the images are                              |
    |----------------------------------------------------------------|---------------------------------------------|
    | a folder that holds the list                                   | those of the list                           |
    | a folder without lists                                         | what lies in it; see `sources.folder`       |

    Args:
        root: The folder.
        list_file: The list below `root`. Of the usual names, train_list.txt and val_list.txt, a folder without
            lists takes its own part "train" or "val"; a list of another name must be there.
        labels: "required", or "optional": labels of a list may be missing, those of folders are ignored.
        num_classes: When given, labels must be below it.
        allow_outside: Accept absolute paths and `..` in a list.
        opt_in: How the reader of a message sets `allow_outside`.

    Raises:
        DataError: There are no images, or what names them is faulty.
    """
    if labels not in ("required", "optional"):
        raise ValueError(f"labels={labels!r}; use 'required' or 'optional'")
    folder, required = Path(root), labels == "required"
    if list_file in (TRAIN_LIST, VAL_LIST) and folder.is_dir() and not _has_lists(folder):
        part = str(list_file).removesuffix(LIST_ENDING)
        return open_folder(root, part, labelled=required, num_classes=num_classes)
    return read_list(
        list_file, root, labels=labels, num_classes=num_classes, allow_outside=allow_outside, opt_in=opt_in
    )


def _has_lists(folder: Path) -> bool:
    return any((folder / name).exists() for name in (TRAIN_LIST, VAL_LIST))
