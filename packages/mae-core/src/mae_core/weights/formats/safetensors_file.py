"""`.safetensors`: header and arrays; bfloat16, which NumPy lacks, is read as float32."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mae_core.errors import CheckpointError
from mae_core.weights.formats.numpy_pickle import widened
from mae_core.weights.formats.pickle_values import shown

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_MAX_DIMENSIONS = 8


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays (views of the mapped file) and the metadata of the header."""
    try:
        with safe_open(path, "numpy"):  # checks header, names, offsets and sizes
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"it is not a readable .safetensors file ({shown(str(error))})") from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    metadata = header.pop("__metadata__", None) or {}
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if path.stat().st_size > 8 + length else np.zeros(0, "u1")
    return {name: _array(name, entry, data) for name, entry in header.items()}, metadata


def _array(name: str, entry: Mapping[str, Any], data: NDArray[np.uint8]) -> NDArray[Any]:
    if entry["dtype"] not in _DTYPES:
        raise CheckpointError(f"{shown(name)} is of type {entry['dtype']}; floats of 16 to 64 bits are read")
    if len(entry["shape"]) > _MAX_DIMENSIONS:
        raise CheckpointError(f"{shown(name)} has {len(entry['shape'])} dimensions")
    start, end = entry["data_offsets"]
    array = np.frombuffer(data[start:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return widened(array) if entry["dtype"] == "BF16" else array


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write arrays and the header's metadata."""
    native = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape) for name, a in arrays.items()}
    save_file(native, path, metadata=dict(metadata))
