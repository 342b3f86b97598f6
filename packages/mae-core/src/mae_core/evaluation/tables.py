"""The tables of an evaluation: scores.json, per_class.csv, confusion.csv."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mae_core.evaluation.scores import Scores
from mae_core.files import refuse_unwritable, try_folder, write_output


def prepare_folder(folder: Path) -> None:
    """Make the folder of the tables and try to write in it.

    Raises:
        UserError: the folder cannot be written.
    """
    with refuse_unwritable(folder):
        try_folder(folder)


def write_tables(folder: Path, scores: Scores, figures: Mapping[str, float], folders: Mapping[int, str]) -> None:
    """Write the tables.

    Args:
        folder: made if it is not there.
        figures: what scores.json holds.
        folders: name of a class's folder of images, by class; a class without images may be left out.

    Raises:
        UserError: the folder cannot be written.
    """
    with refuse_unwritable(folder):
        write_output(folder / "scores.json", (json.dumps(dict(figures), indent=1) + "\n").encode())
        write_output(folder / "per_class.csv", _csv(_per_class(scores, folders)))
        # Row: true class; column: prediction.
        write_output(folder / "confusion.csv", _csv(scores.confusion.astype(int).tolist()))


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
