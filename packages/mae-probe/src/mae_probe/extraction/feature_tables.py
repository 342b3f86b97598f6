"""Features as tables for other programs: CSV, and Parquet by pyarrow (extra `parquet`)."""

import csv
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.errors import UserError
from mae_core.process.installation import pip_install
from mae_probe.extraction.feature_set import Features

PLACE = ("row", "column", "height", "width")  # of a window


def csv_bytes(features: Features) -> bytes:
    """Write a line for each image: path, label, and its numbers with 9 digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    boxes = np.empty((len(features.paths), 0), np.int64) if features.windows is None else features.windows
    columns = PLACE if features.windows is not None else ()
    writer.writerow(["path", "label", *columns, *(f"f{i}" for i in range(features.features.shape[1]))])
    for path, label, box, row in zip(features.paths, features.labels, boxes, features.features, strict=True):
        writer.writerow([path, label, *box, *(f"{number:.9g}" for number in row)])
    return text.getvalue().encode()


def read_csv(path: Path) -> Features:
    """Read what `csv_bytes` wrote; ValueError where it is something else."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        first = header.index("f0") if "f0" in header else 0
        if tuple(header[:first]) not in (("path", "label"), ("path", "label", *PLACE)):
            raise ValueError("its columns are not path, label, f0, ...")
        rows = list(reader)
    numbers = np.array([row[first:] for row in rows], dtype=np.float32)
    windows = np.array([row[2:first] for row in rows], dtype=np.int64) if first > 2 else None
    return Features(numbers, np.array([row[1] for row in rows], dtype=np.int64), [row[0] for row in rows], windows)


def require_pyarrow() -> None:
    """Raise UserError with the install command where pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise UserError(f".parquet needs pyarrow: {pip_install('mae-probe', 'parquet')}")


def parquet_bytes(features: Features, name: str = "features", said: Mapping[str, str] | None = None) -> bytes:
    """Write columns path, label and features or, of [N, L, D], lists of L lists; `said` becomes the schema's metadata.

    Raises:
        UserError: pyarrow is missing.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    column = pa.array(features.features.reshape(-1))
    for length in features.features.shape[:0:-1]:
        column = pa.FixedSizeListArray.from_arrays(column, length)
    columns = {"path": pa.array(features.paths, pa.string()), "label": features.labels}
    if features.windows is not None:
        columns |= dict(zip(PLACE, features.windows.T, strict=True))
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({**columns, name: column}, metadata=said), sink)
    return bytes(sink.getvalue().to_pybytes())


def read_parquet(path: Path) -> Features:
    """Read what `parquet_bytes` wrote; ValueError or KeyError where it is something else.

    Raises:
        UserError: pyarrow is missing.
    """
    require_pyarrow()
    from pyarrow import parquet

    table: Any = parquet.read_table(path)
    numbers = np.asarray(table["features"].combine_chunks().flatten(), dtype=np.float32)
    numbers = numbers.reshape(len(table), -1 if len(table) else 0)
    paths = [str(p) for p in table["path"].to_pylist()]
    windows = None
    if set(PLACE) <= set(table.column_names):
        windows = np.stack([np.asarray(table[name], dtype=np.int64) for name in PLACE], axis=1)
    return Features(numbers, np.asarray(table["label"], dtype=np.int64), paths, windows)
