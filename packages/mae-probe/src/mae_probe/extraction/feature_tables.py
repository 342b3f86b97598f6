"""Features as tables for other programs: CSV, and Parquet by pyarrow (extra `parquet`)."""

import csv
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.errors import UserError
from mae_probe.extraction.feature_set import Features


def csv_bytes(features: Features) -> bytes:
    """Write a line for each image: path, label, and its numbers with 9 digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", *(f"f{i}" for i in range(features.features.shape[1]))])
    for path, label, row in zip(features.paths, features.labels, features.features, strict=True):
        writer.writerow([path, label, *(f"{number:.9g}" for number in row)])
    return text.getvalue().encode()


def read_csv(path: Path) -> Features:
    """Read what `csv_bytes` wrote; ValueError where it is something else."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if next(reader, [])[:3] != ["path", "label", "f0"]:
            raise ValueError("its columns are not path, label, f0, ...")
        rows = list(reader)
    numbers = np.array([row[2:] for row in rows], dtype=np.float32)
    return Features(numbers, np.array([row[1] for row in rows], dtype=np.int64), [row[0] for row in rows])


def require_pyarrow() -> None:
    """Raise UserError with the install command where pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise UserError('.parquet needs pyarrow: pip install "mae-probe[parquet]"')


def parquet_bytes(features: Features) -> bytes:
    """Write columns path, label and features, lists of one length.

    Raises:
        UserError: pyarrow is missing.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    width = features.features.shape[1]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(features.features.reshape(-1)), width)
    table = pa.table({"path": pa.array(features.paths, pa.string()), "label": features.labels, "features": lists})
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
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
    return Features(numbers, np.asarray(table["label"], dtype=np.int64), paths)
