"""The tables of an evaluation: scores.json, per_class.csv, confusion.csv, predictions.csv."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mae_core.evaluation.scores import Predictions, Scores
from mae_core.files import refuse_unwritable, try_folder, write_output


def prepare_folder(folder: Path) -> None:
    """Make the folder of the tables and try to write in it.

    Raises:
        UserError: the folder cannot be written.
    """
    with refuse_unwritable(folder):
        try_folder(folder)


def write_scores(folder: Path, figures: Mapping[str, object]) -> None:
    """Write `scores.json`.

    Raises:
        UserError: the folder cannot be written.
    """
    with refuse_unwritable(folder):
        write_output(folder / "scores.json", (json.dumps(dict(figures), indent=1) + "\n").encode())


def write_tables(folder: Path, scores: Scores, figures: Mapping[str, float], folders: Mapping[int, str]) -> None:
    """Write the tables.

    Args:
        folder: made if it is not there.
        figures: what scores.json holds.
        folders: name of a class's folder of images, by class; a class without images may be left out.

    Raises:
        UserError: the folder cannot be written.
    """
    write_scores(folder, figures)
    write_table(folder / "per_class.csv", _class_rows(scores, folders))
    write_table(folder / "confusion.csv", scores.confusion.astype(int).tolist())  # row: true class; column: prediction


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write one table as CSV.

    Raises:
        UserError: it cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with refuse_unwritable(path):
        write_output(path, text.getvalue().encode("utf-8", "backslashreplace"))  # a name need not be text


def write_predictions(folder: Path, predictions: Predictions, path: Callable[[int], str]) -> None:
    """Write `predictions.csv`: a line per image that was scored, with the probabilities of all classes where kept.

    Args:
        path: names the image of a place in the list.

    Raises:
        UserError: the folder cannot be written.
    """
    write_table(folder / "predictions.csv", _prediction_rows(predictions, path))


def _prediction_rows(predictions: Predictions, path: Callable[[int], str]) -> Iterable[list[object]]:
    each = predictions.probabilities()
    yield ["index", "image", "class", "predicted", "probability", *(f"prob_{c}" for c in range(each.shape[1]))]
    for i in predictions.seen.nonzero()[0].tolist():
        true, predicted = int(predictions.labels[i]), int(predictions.predicted[i])
        yield [i, path(i), true, predicted, f"{predictions.probability[i]:.6f}", *(f"{p:.6g}" for p in each[i])]


def _class_rows(scores: Scores, folders: Mapping[int, str]) -> Iterable[list[object]]:
    yield ["class", "folder", "images", "top1", "top5", "precision", "recall", "f1"]
    for c, row in enumerate(scores.confusion):
        n, predicted = int(row.sum()), int(scores.confusion[:, c].sum())
        shares = [(row[c], n), (scores.top5_hits[c], n), (row[c], predicted), (row[c], n), (2 * row[c], n + predicted)]
        yield [c, folders.get(c, ""), n, *(f"{100 * hits / of:.4f}" if of else "" for hits, of in shares)]
