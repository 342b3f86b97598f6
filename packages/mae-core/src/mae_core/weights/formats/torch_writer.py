"""Write a `.pth` that `torch.load(weights_only=True)` reads, without PyTorch: the pickle is spelled out."""

import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STORAGES = {
    "f4": "FloatStorage",
    "f8": "DoubleStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "i4": "IntStorage",
    "i2": "ShortStorage",
    "i1": "CharStorage",
    "u1": "ByteStorage",
    "b1": "BoolStorage",
}
_EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # GLOBAL, EMPTY_TUPLE, REDUCE
_TIME = (1980, 1, 1, 0, 0, 0)  # the same weights give the same file


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data  # BINUNICODE


def _integer(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data  # LONG1


def _sizes(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"  # MARK, ..., TUPLE


def _tensor(key: int, array: NDArray[Any]) -> bytes:
    strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    kind = _STORAGES[array.dtype.str[1:]]
    storage = b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(str(key)) + _text("cpu")
    storage += _integer(array.size) + b"tQ"  # TUPLE, BINPERSID
    arguments = storage + _integer(0) + _sizes(array.shape) + _sizes(strides) + b"\x89" + _EMPTY_ORDERED_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"  # GLOBAL, MARK, ..., TUPLE, REDUCE


def _pickle(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    items = b"".join(_text(name) + _tensor(key, array) for key, (name, array) in enumerate(arrays.items()))
    state_dict = _EMPTY_ORDERED_DICT + b"(" + items + b"u"  # MARK, ..., SETITEMS
    return b"\x80\x02}(" + _text("model") + state_dict + b"u."  # PROTO 2, EMPTY_DICT, ..., SETITEMS, STOP


def write_torch(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `{"model": state dict}`, float, integer or bool arrays, by PyTorch's names."""
    native = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("<")).reshape(a.shape) for name, a in arrays.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes | memoryview) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", _TIME), data)

        add("data.pkl", _pickle(native))
        add("byteorder", b"little")
        for key, array in enumerate(native.values()):
            add(f"data/{key}", array.tobytes())
        add("version", b"3\n")
