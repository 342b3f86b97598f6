"""Memory that kernels work on: on the host or, through PyTorch, on a GPU; both fenced against stray writes."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuda_check.structures import load_library

Array = NDArray[Any]

FENCE = 256  # bytes before and behind each buffer; a multiple of it keeps the alignment
FENCE_VALUE = 0xA5


class CheckError(Exception):
    """A kernel did something wrong."""

    exit_code = 1


class Buffer:
    """An array in a device's memory, `offset` bytes away from perfect alignment."""

    def __init__(self, device: "Device", array: ArrayLike, offset: int = 0) -> None:
        values = np.ascontiguousarray(array)
        self.shape, self.dtype, self.device = values.shape, values.dtype, device
        self._begin, self._end = FENCE + offset, FENCE + offset + values.nbytes
        raw = np.full(self._end + FENCE, FENCE_VALUE, dtype=np.uint8)
        raw[self._begin : self._end] = values.reshape(-1).view(np.uint8)
        self._memory = device.upload(raw)

    @property
    def pointer(self) -> int:
        """Address of the first element."""
        return self.device.address(self._memory) + self._begin

    def read(self) -> Array:
        """Copy the array back.

        Raises:
            CheckError: something wrote outside it.
        """
        raw = self.device.download(self._memory)
        outside = np.concatenate([raw[: self._begin], raw[self._end :]])
        if (outside != FENCE_VALUE).any():
            raise CheckError(f"a kernel wrote outside its output of shape {self.shape} ({self.dtype})")
        return raw[self._begin : self._end].view(self.dtype).reshape(self.shape)


class Device:
    """The host: kernels built against cuda_on_host.h."""

    name = "host"

    def __init__(self, library: str) -> None:
        self.library: ctypes.CDLL = load_library(library)
        self.stream: int | None = None

    def put(self, array: ArrayLike, offset: int = 0) -> Buffer:
        """Copy an array to the device."""
        return Buffer(self, array, offset)

    def empty(self, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> Buffer:
        """Make an array whose elements have to be written: it is full of 0xCD bytes."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return Buffer(self, np.full(count, 0xCD, np.uint8).view(dtype).reshape(shape), offset)

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the library on the current stream.

        Raises:
            CheckError: it returned an error.
        """
        code = self.try_call(function, *arguments)
        if code != 0:
            raise CheckError(f"{function} returned CUDA error {code}")

    def try_call(self, function: str, *arguments: Any) -> int:
        """Call a function of the library and return its CUDA error number."""
        return int(getattr(self.library, function)(*arguments, self.stream))

    def upload(self, raw: Array) -> Any:
        """Copy bytes to the device, at an address divisible by FENCE."""
        memory = np.empty(raw.size + FENCE, dtype=np.uint8)
        start = -memory.ctypes.data % FENCE
        memory[start : start + raw.size] = raw
        return memory[start : start + raw.size]

    def download(self, memory: Any) -> Array:
        """Copy bytes back, after all work on them."""
        return np.array(memory)

    def address(self, memory: Any) -> int:
        """Return the address of uploaded bytes."""
        return int(memory.ctypes.data)


class TorchDevice(Device):
    """The current GPU; PyTorch owns the memory and the stream."""

    place = "cuda"

    def __init__(self, library: str, torch: Any) -> None:
        super().__init__(library)
        self.torch = torch
        self.name = torch.cuda.get_device_name()
        self.stream = torch.cuda.current_stream().cuda_stream

    def upload(self, raw: Array) -> Any:
        memory = self.torch.from_numpy(raw).cuda()
        if memory.data_ptr() % FENCE:
            raise CheckError(f"PyTorch's memory at {memory.data_ptr():#x} is not aligned to {FENCE} bytes")
        return memory

    def download(self, memory: Any) -> Array:
        return np.asarray(memory.cpu().numpy())

    def address(self, memory: Any) -> int:
        return int(memory.data_ptr())
