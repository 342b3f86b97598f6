"""PyTorch's `.pth`, `.pt` and `.bin`, read without it: a zip of a pickle and raw storages, or the older stream."""

import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import Builder, Inert, Name, safe_text
from mae_core.weights.formats.pickled_arrays import NUMPY, bfloat16_to_float32, pick_tensors
from mae_core.weights.formats.pickles import read_pickle

_BFLOAT16 = "bfloat16"
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
_MAX_DIMENSIONS, _MAX_SIZE = 8, 1 << 40
_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the older stream


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, by key."""

    key: str
    dtype: str
    size: int

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all its numbers."""
        return math.prod(self.shape) * self.storage.itemsize


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *unused: Any) -> Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; nothing outside the storage, nothing larger than it."""
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor without storage, shape or strides")
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    numbers = (offset, *shape, *strides)
    if any(type(number) is not int or number < 0 for number in numbers) or len(shape) != len(strides):
        raise ValueError("a tensor's shape and strides are not sizes")
    # NumPy 1 crashes on strides beyond its own limits
    if max(numbers) > _MAX_SIZE or math.prod(side for side in shape if side) > _MAX_SIZE:
        raise ValueError(f"a tensor of {len(shape)} dimensions with sizes or strides over {_MAX_SIZE:,}")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count and (last >= storage.size or count > storage.size):
        raise ValueError(f"a tensor of shape {list(shape)[:8]} in a storage of {storage.size} numbers")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Tensor, *unused: Any) -> Tensor:
    return tensor


_DTYPES = ("float16", "float32", "float64", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
TORCH: dict[str, Builder | None] = {
    **NUMPY,
    **{f"torch.{name}": None for name in (*_STORAGES, *_DTYPES)},
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.device": Inert,
    "torch.Size": tuple,
}


@dataclass
class _Storages:
    """The storages that a pickle names; one key stands for one type and size, as views are checked against these."""

    by_key: dict[str, Storage] = field(default_factory=dict)

    def __call__(self, persistent_id: Any) -> Storage:
        storage = _storage(persistent_id)
        if self.by_key.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {safe_text(storage.key)} is given two types or sizes")
        return storage


def _storage(persistent_id: Any) -> Storage:
    kind, name, key, _, size, *view = persistent_id
    if not isinstance(key, str) and (type(key) is not int or key.bit_length() > 64):
        raise ValueError("a storage whose key is neither text nor a number")
    dtype = _STORAGES.get(name.text.removeprefix("torch.")) if isinstance(name, Name) else None
    if kind != "storage" or dtype is None or type(size) is not int or size < 0 or any(view):
        raise ValueError("a persistent id that is no storage of numbers")
    return Storage(str(key), dtype, size)


def read_torch(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a PyTorch file, bare or under `model` or `state_dict`; bfloat16 as float32."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head == b"PK\x03\x04":
            return _read_zip(path)
        return _read_stream(file, path.stat().st_size)


def _arrays(content: Any, bytes_of: Callable[[Storage], bytes], file_size: int) -> dict[str, NDArray[Any]]:
    tensors = pick_tensors(
        content, lambda value: value if isinstance(value, Tensor) else None, lambda tensor: tensor.nbytes, file_size
    )
    storages: dict[str, NDArray[Any]] = {}
    return {name: _view(tensor, storages, bytes_of) for name, tensor in tensors.items()}


def _view(tensor: Tensor, storages: dict[str, NDArray[Any]], bytes_of: Callable[[Storage], bytes]) -> NDArray[Any]:
    storage = tensor.storage
    if storage.key not in storages:
        data = bytes_of(storage)
        if len(data) < storage.size * storage.itemsize:
            raise CheckpointError(f"storage {storage.key} has {len(data)} bytes of {storage.size * storage.itemsize}")
        dtype = "<u2" if storage.dtype == _BFLOAT16 else storage.dtype
        flat: NDArray[Any] = np.frombuffer(data, dtype, storage.size)
        storages[storage.key] = bfloat16_to_float32(flat) if storage.dtype == _BFLOAT16 else flat
    flat = storages[storage.key]
    strides = [stride * flat.itemsize for stride in tensor.strides]
    if not math.prod(tensor.shape):
        return flat[:0].reshape(tensor.shape)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _read_zip(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickle = next((name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")), None)
            if pickle is None:
                raise CheckpointError("it is a zip file, but not PyTorch's (no data.pkl inside)")
            root = pickle.removesuffix("data.pkl")
            if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
                raise CheckpointError("its parts are compressed, which PyTorch never does")
            if sum(max(info.file_size, info.compress_size) for info in members.values()) > path.stat().st_size:
                raise CheckpointError("its parts are larger than the file: they overlap, which PyTorch's never do")
            if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
                raise CheckpointError("it was written on a big-endian machine; save it again on a little-endian one")
            content = read_pickle(archive.read(pickle), TORCH, _Storages())
            bytes_of = partial(_storage_bytes, archive, members, root)
            return _arrays(content, bytes_of, path.stat().st_size)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError, struct.error) as error:
        raise CheckpointError(f"it is not a readable zip file ({safe_text(str(error))})") from None


def _storage_bytes(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], root: str, storage: Storage
) -> bytes:
    name = f"{root}data/{storage.key}"
    if name not in members:
        raise CheckpointError(f"it lacks {safe_text(name)}")
    return archive.read(name)


def _read_stream(file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    """Read what PyTorch wrote before 1.6: five pickles, then each storage's length and bytes."""
    content = file.read()
    data = io.BytesIO(content)
    if content[:2] != b"\x80\x02" or read_pickle(data, {}) != _MAGIC:
        raise CheckpointError(
            "it is neither PyTorch's zip format nor its older stream; load it with PyTorch and torch.save it again"
        )
    for _ in range(2):  # protocol version, facts about the machine
        read_pickle(data, {})
    described = _Storages()
    tree = read_pickle(data, TORCH, described)
    storages, keys = described.by_key, read_pickle(data, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError("its list of storages is damaged")
    starts: dict[str, int] = {}
    for key in keys:
        (count,) = struct.unpack("<q", data.read(8).ljust(8, b"\xff"))
        if key not in storages or count != storages[key].size or data.tell() + count * storages[key].itemsize > size:
            raise CheckpointError(f"storage {safe_text(key)} is cut off or not described")
        starts[key] = data.tell()
        data.seek(count * storages[key].itemsize, io.SEEK_CUR)
    if starts.keys() != storages.keys():
        raise CheckpointError("storages are missing at its end")
    return _arrays(tree, lambda s: content[starts[s.key] : starts[s.key] + s.size * s.itemsize], size)
