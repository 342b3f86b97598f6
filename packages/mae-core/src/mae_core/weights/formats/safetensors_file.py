"""`.safetensors`: header and arrays; bfloat16, which NumPy lacks, is read as float32."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import safe_text
from mae_core.weights.formats.pickled_arrays import bfloat16_to_float32

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
_NONE: Mapping[str, str] = {}


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays (views of the mapped file) and the metadata of the header."""
    try:
        with safe_open(path, "numpy"):  # checks header, names, offsets and sizes
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"it is not a readable .safetensors file ({safe_text(str(error))})") from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    metadata = header.pop("__metadata__", None) or {}
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if path.stat().st_size > 8 + length else np.zeros(0, "u1")
    return {name: _array(name, entry, data) for name, entry in header.items()}, metadata


def _array(name: str, entry: Mapping[str, Any], data: NDArray[np.uint8]) -> NDArray[Any]:
    if entry["dtype"] not in _DTYPES:
        raise CheckpointError(f"{safe_text(name)} is of type {entry['dtype']}; floats of 16 to 64 bits are read")
    if len(entry["shape"]) > _MAX_DIMENSIONS:
        raise CheckpointError(f"{safe_text(name)} has {len(entry['shape'])} dimensions")
    start, end = entry["data_offsets"]
    try:
        array = np.frombuffer(data[start:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (ValueError, OverflowError):  # [0, 2**62] holds nothing, but is no shape either
        raise CheckpointError(f"{safe_text(name)} has shape {entry['shape']}, which is beyond any array") from None
    return bfloat16_to_float32(array) if entry["dtype"] == "BF16" else array


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] = _NONE) -> str:
    """Write arrays and the header's metadata; return the file's SHA-256.

    The same contents give the same bytes and the file's mode follows the umask: the library's writer orders the
    metadata at random and makes every file private.

    Raises:
        CheckpointError: an array is of a type that the format lacks.
    """
    # Large types first, then by name, as the library does: every array stays aligned.
    ordered = {name: arrays[name] for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))}
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(ordered, metadata):
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def _pieces(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    header = _header(arrays, metadata)
    yield len(header).to_bytes(8, "little") + header
    for array in arrays.values():
        yield _bytes(array)


def _header(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        entries[name] = {"dtype": _dtype_name(array), "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _dtype_name(array: NDArray[Any]) -> str:
    if array.dtype.kind not in "fiub":
        raise CheckpointError(f"an array of type {array.dtype} has no place in a .safetensors file")
    return "BOOL" if array.dtype.kind == "b" else f"{array.dtype.kind.upper()}{8 * array.itemsize}"


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array; a copy only where it is not little-endian and contiguous."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
