"""Parquet and Arrow files with a column of encoded images, as the Hugging Face Hub and `datasets` write them."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mae_data.errors import DataError, InputError

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes")
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")
_FOOTER = 8


class TableFile:
    """One file: rows in parts, of which a part is what one read gives.

    Args:
        path: the file.

    Attributes:
        rows: number of rows of each part.
        bytes: size of the largest part, all of which is read for one image; 0 where only the image is.
        classes: class names by label, where the file holds them.
        digest: hash of what describes the file's content.

    Raises:
        InputError: pyarrow is not installed.
        DataError: it is damaged, or has no column of images.
    """

    rows: list[int]
    bytes: int
    digest: str

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise InputError(f'{path}: pyarrow is not installed; pip install "mae-data[parquet]"') from error
        self.path = path
        try:
            self._open()
            schema: Any = self._schema()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot read the table ({str(error).splitlines()[0]})") from error
        self.image = _choose(schema, IMAGE_COLUMNS, _is_image)
        self.label = _choose(schema, LABEL_COLUMNS, pa.types.is_integer, named=True)
        if self.image is None:
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise DataError(f"{path}: no column of encoded images (binary, or a struct with `bytes`) among {columns}")
        self.classes = _class_names(schema, self.label)

    def _open(self) -> None:
        raise NotImplementedError

    def _schema(self) -> Any:
        raise NotImplementedError

    def part(self, number: int, column: str) -> Any:
        """Return a column of one part, as an Arrow array."""
        raise NotImplementedError


class ParquetFile(TableFile):
    """A Parquet file; its parts are the row groups."""

    def _open(self) -> None:
        from pyarrow import parquet

        # Arrow's threads do not survive a fork; workers are processes anyway.
        self._file = parquet.ParquetFile(self.path, pre_buffer=False)
        self._pid = os.getpid()
        metadata = self._file.metadata
        self.rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.bytes = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
        with open(self.path, "rb") as file:
            size = file.seek(-_FOOTER, os.SEEK_END) + _FOOTER
            length = int.from_bytes(file.read(4), "little")
            file.seek(size - _FOOTER - length)
            self.digest = hashlib.sha256(b"%d " % size + file.read(length)).hexdigest()

    def _schema(self) -> Any:
        return self._file.schema_arrow

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_pid": -1}

    def part(self, number: int, column: str) -> Any:
        """Read a column of one row group."""
        if self._pid != os.getpid():
            self._open()
        return self._file.read_row_group(number, columns=[column], use_threads=False).column(0)


class ArrowFile(TableFile):
    """An Arrow file that `datasets` saved, mapped into memory; its parts are the record batches."""

    def _open(self) -> None:
        import pyarrow as pa

        with pa.memory_map(str(self.path)) as source:
            try:
                self._table = pa.ipc.open_stream(source).read_all()
            except pa.ArrowInvalid:
                self._table = pa.ipc.open_file(source).read_all()
        self._batches = self._table.to_batches()
        self.rows = [len(batch) for batch in self._batches]
        self.bytes = 0  # nothing is read that is not asked for
        described = f"{self.path.stat().st_size} {self.rows} {self._table.schema}"
        self.digest = hashlib.sha256(described.encode()).hexdigest()

    def _schema(self) -> Any:
        return self._table.schema

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_table", "_batches")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= state
        self._open()

    def part(self, number: int, column: str) -> Any:
        """Return a column of one record batch, without copying it."""
        return self._batches[number].column(column)


def open_table_file(path: Path) -> TableFile:
    """Open a file by its ending, .parquet or .arrow."""
    return ArrowFile(path) if path.suffix == ".arrow" else ParquetFile(path)


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _choose(schema: Any, names: tuple[str, ...], fits: Any, named: bool = False) -> str | None:
    """Return the column of one of these names that fits, else the first that fits, unless it must be named."""
    found = [field.name for field in schema if fits(field.type)]
    known = [name for name in names if name in found]
    return next(iter(known or ([] if named else found)), None)


def _class_names(schema: Any, label: str | None) -> list[str]:
    """Read the names that `datasets` keeps for a ClassLabel column; none where it keeps no such thing."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
