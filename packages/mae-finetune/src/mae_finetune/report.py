"""The tables of an evaluation: scores.json, per_class.csv, confusion.csv."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.atomic import write_atomic
from mae_core.errors import UserError
from mae_data.image_list import ImageList
from mae_finetune.scores import Scores


def write_report(
    folder: Path, scores: Scores, figures: Mapping[str, float], images: ImageList, labels: NDArray[np.int64]
) -> None:
    """Write the tables.

    Args:
        folder: made if it is not there.
        figures: what scores.json holds.
        images, labels: name the classes, by the folder of each one's first image.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "scores.json", (json.dumps(dict(figures), indent=1) + "\n").encode())
        write_atomic(folder / "per_class.csv", _csv(_per_class(scores, _class_folders(images, labels))))
        # Row: true class; column: prediction.
        write_atomic(folder / "confusion.csv", _csv(scores.confusion.astype(int).tolist()))
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another with -output") from None


def _class_folders(images: ImageList, labels: NDArray[np.int64]) -> dict[int, str]:
    classes, first = np.unique(labels, return_index=True)
    return {int(c): os.path.basename(os.path.dirname(images.path(int(i)))) for c, i in zip(classes, first, strict=True)}


def _per_class(scores: Scores, folders: Mapping[int, str]) -> Iterable[list[object]]:
    yield ["class", "folder", "images", "top1", "top5"]
    for c, row in enumerate(scores.confusion):
        n = int(row.sum())
        accuracies = [f"{100 * hits / n:.4f}" if n else "" for hits in (row[c], scores.top5_hits[c])]
        yield [c, folders.get(c, ""), n, *accuracies]


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
