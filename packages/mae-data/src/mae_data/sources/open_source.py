"""Opening the source of images that -data_path names: the one place that chooses its kind."""

import os
from pathlib import Path

import numpy as np

from mae_data.errors import DataError, StoreError
from mae_data.sources.folders.array_files import find_arrays
from mae_data.sources.folders.folder import open_folder
from mae_data.sources.image_list import read_list
from mae_data.sources.list_file import TRAIN_LIST, VAL_LIST
from mae_data.sources.shards import INDEX_ENDING, open_shards
from mae_data.sources.source import NO_LABEL, Source
from mae_data.sources.store import is_address, open_store
from mae_data.sources.table import ENDINGS, files_of_part, open_table, table_files

PARTS = {TRAIN_LIST: "train", VAL_LIST: "val"}
# A folder with one of these is no plain folder of images, whatever part of it is asked for.
MARKS_OF_DATA_SETS = (*PARTS, *(f"{part}{INDEX_ENDING}" for part in PARTS.values()))


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

    | `root`                                                | the images are                                    |
    |-------------------------------------------------------|---------------------------------------------------|
    | a folder that holds the list                          | those of the list                                 |
    | a folder or an address with train.index or val.index  | those of tar shards; see `sources.shards`         |
    | a Parquet file, or a folder with some or with saved   | those of a column; see `sources.table`            |
    | `datasets`                                            |                                                   |
    | a folder with images.npy, or IDX files as MNIST's     | the rows of these; see `sources.folders.array_files`|
    | a folder without any of these                         | what lies in it; see `sources.folders.folder`     |

    Args:
        root: the folder or address.
        list_file: the list below `root`. The usual names, train_list.txt and val_list.txt, stand for the parts
            "train" and "val" of what has no lists; a list of another name must be there.
            NAME.index is one of shards, NAME.parquet a table.
        labels: "required", or "optional": labels of a list may be missing, those of folders are ignored.
        num_classes: when given, labels must be below it.
        allow_outside: accept absolute paths and `..` in a list.
        opt_in: how the reader of a message sets `allow_outside`.

    Raises:
        DataError: there are no images, or what names them is faulty.
    """
    if labels not in ("required", "optional"):
        raise ValueError(f"labels={labels!r}; use 'required' or 'optional'")
    name, folder = os.fspath(list_file), Path(root)
    part = PARTS.get(name)
    if source := _open_shards_or_table(root, name, part):
        _check_labels(source, labels == "required", num_classes)
        return source
    if not folder.exists():
        raise DataError(f"{root}: no such folder; name the one that holds the images")
    if part and folder.is_dir() and not any((folder / other).exists() for other in MARKS_OF_DATA_SETS):
        return open_folder(root, part, labelled=labels == "required", num_classes=num_classes)
    return read_list(
        list_file, root, labels=labels, num_classes=num_classes, allow_outside=allow_outside, opt_in=opt_in
    )


def _open_shards_or_table(root: str | os.PathLike[str], name: str, part: str | None) -> Source | None:
    """Open shards or a table; return None where `root` and the list's name are of neither."""
    folder, index = Path(root), f"{part}{INDEX_ENDING}" if part else name
    if is_address(root) or name.endswith(INDEX_ENDING):
        if not index.endswith(INDEX_ENDING):
            raise DataError(
                f"{root} is an address of shards and has no list {name}; use {', '.join(PARTS)} or NAME.index"
            )
        return open_shards(root, index)
    if folder.is_file() and folder.suffix not in ENDINGS:
        raise DataError(f"{root} is a file, and none of {', '.join(ENDINGS)}; give the folder that it is in")
    if folder.is_file():
        return open_table(root, part, [folder])
    if name.endswith(ENDINGS):
        return open_table(folder / name, None, [folder / name])
    if part is None or (folder / name).exists():
        return None
    if (folder / index).exists():
        return open_shards(root, index)
    tables = table_files(folder) if not any((folder / other).exists() for other in MARKS_OF_DATA_SETS) else []
    return open_table(root, part, tables) if tables else None


def open_parts(
    root: str | os.PathLike[str],
    *,
    labelled: bool = False,
    num_classes: int | None = None,
    allow_outside: bool = False,
    opt_in: str = "allow_outside=True",
) -> dict[str, Source]:
    """Open the parts "train" and "val", as far as a data set has them.

    Args:
        root: the folder or address.
        labelled: whether labels are required.
        num_classes, allow_outside, opt_in: see `open_source`.
    """
    return {
        part: open_source(
            root,
            name,
            labels="required" if labelled else "optional",
            num_classes=num_classes,
            allow_outside=allow_outside,
            opt_in=opt_in,
        )
        for name, part in PARTS.items()
        if part in _parts_of(root, labelled)
    }


def _parts_of(root: str | os.PathLike[str], labelled: bool) -> list[str]:
    if is_address(root):
        return ["train", *(["val"] if _is_there(root, f"val{INDEX_ENDING}") else [])]
    folder = Path(root)
    if tables := [] if any((folder / name).exists() for name in MARKS_OF_DATA_SETS) else table_files(folder):
        return [part for part in PARTS.values() if files_of_part(folder, part, tables)]
    listed = [p for name, p in PARTS.items() if (folder / name).exists() or (folder / f"{p}{INDEX_ENDING}").exists()]
    arrays = find_arrays(folder) if folder.is_dir() and not listed else {}
    has_val = (folder / "val").is_dir() or "val" in arrays or (labelled and not (folder / "train").is_dir())
    return listed or ["train", *(["val"] if has_val else [])]


def _is_there(root: str | os.PathLike[str], name: str) -> bool:
    try:
        return open_store(root).state(name)[0] > 0
    except StoreError:
        return False


def _check_labels(source: Source, required: bool, num_classes: int | None) -> None:
    """Raise DataError where labels are missing or too large; it counts all such images and names the first ten."""
    labels = source.labels
    bad = labels < (0 if required else NO_LABEL)
    if num_classes is not None:
        bad |= labels >= num_classes
    places = np.flatnonzero(bad).tolist()
    allowed = f"0 to {num_classes - 1}" if num_classes is not None else "0 and above"
    shown = [
        f"{source.describe(i)}: " + ("no label" if labels[i] == NO_LABEL else f"label {labels[i]}") for i in places[:10]
    ]
    if len(places) == 1:
        raise DataError(f"{shown[0]}; allowed are {allowed}")
    if places:
        note = ", the first 10 are" if len(places) > 10 else ""
        raise DataError(
            f"{source.name}: {len(places)} images have no label from {allowed}{note}:\n  " + "\n  ".join(shown)
        )
