"""Checks of the ranks and of the kept tokens and their gradient; exact, without any tolerance."""

from ctypes import byref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_check import reference
from cuda_check.device import Buffer, CheckError, Device
from cuda_check.structures import MaskingArgs

Array = NDArray[Any]

SEED, EPOCH = 0x9E3779B97F4A7C15, 7
SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}


def make_noise(kind: str, n: int, length: int) -> Array | None:
    """Make noise [N, L]: `random`, with `ties`, with `special` values, or None for Philox in the kernel."""
    rng = np.random.default_rng(n * 10007 + length)
    if kind == "philox":
        return None
    if kind == "ties":
        return rng.integers(0, 4, (n, length)).astype(np.float32)
    noise = rng.random((n, length), dtype=np.float32)
    if kind == "special":
        special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, -1.0, 1e-45, -np.nan], np.float32)
        chosen = rng.random((n, length)) < 0.5
        noise[chosen] = rng.choice(special, int(chosen.sum()))
    return noise


class MaskingRun:
    """Input and output of the ranks in a device's memory."""

    def __init__(self, device: Device, kind: str, n: int, length: int, keep: int) -> None:
        self.noise = make_noise(kind, n, length)
        rng = np.random.default_rng(length)
        self.index = rng.integers(-(2**63), 2**63 - 1, n, dtype=np.int64)
        self.index[: n // 2] = np.arange(n // 2)
        self.keep = keep
        shapes = {"ids_keep": (n, keep), "ids_remove": (n, length - keep), "ids_restore": (n, length)}
        self.outputs: dict[str, Buffer] = {name: device.empty(shape, np.int64) for name, shape in shapes.items()}
        self.outputs["mask"] = device.empty((n, length), np.float32)
        self._inputs = device.put(self.index) if self.noise is None else device.put(self.noise)
        pointers = {name: buffer.pointer for name, buffer in self.outputs.items()}
        pointers["index" if self.noise is None else "noise"] = self._inputs.pointer
        self.args = MaskingArgs(samples=n, seed=SEED, epoch=EPOCH, length=length, keep=keep, **pointers)

    def expected(self) -> reference.Masking:
        """Compute the masking in NumPy."""
        noise = self.noise
        if noise is None:
            noise = reference.philox.masking_noise(SEED, EPOCH, self.index, self.args.length)
        return reference.masking_from_noise(noise, self.keep)

    def check(self) -> reference.Masking:
        """Compare ids and mask, and return the expected ones."""
        expected = self.expected()
        for name, buffer in self.outputs.items():
            require_equal(name, buffer.read(), getattr(expected, name))
        return expected


def require_equal(what: str, got: Array, expected: Array) -> None:
    """Compare bit by bit, 0 and -0 apart.

    Raises:
        CheckError: they differ.
    """
    differs = got.view(f"u{got.itemsize}") != expected.astype(got.dtype).view(f"u{got.itemsize}")
    if differs.any():
        first = tuple(int(i) for i in np.argwhere(differs)[0])
        raise CheckError(
            f"{what}: {int(differs.sum())} of {differs.size} differ, first at {first}:"
            f" {got[first]} instead of {expected[first]}"
        )


def check_ranks(device: Device, kind: str, n: int, length: int, keep: int) -> None:
    """Check ids and mask alone."""
    run = MaskingRun(device, kind, n, length, keep)
    device.call("mae_mask", byref(run.args))
    run.check()


def check_tokens(
    device: Device,
    kind: str,
    n: int,
    length: int,
    keep: int,
    dim: int,
    dtype: str,
    *,
    pad: tuple[int, int] = (0, 0),
    transposed: bool = False,
    offset: int = 0,
    out_offset: int = 0,
) -> None:
    """Check ids, mask and kept tokens.

    Args:
        pad: elements between rows, and rows between samples, that do not belong to x.
        transposed: x is a view of [L, N, D].
        offset, out_offset: bytes that x and the output are away from alignment.
    """
    rng = np.random.default_rng(dim)
    bits = "u4" if SIZES[dtype] == 4 else "u2"
    stored = rng.integers(0, 2 ** (8 * SIZES[dtype]), (n, length + pad[1], dim + pad[0]), dtype=bits)
    if transposed:
        stored = np.ascontiguousarray(stored.transpose(1, 0, 2))
    x = device.put(stored, offset)
    strides = [stride // SIZES[dtype] for stride in stored.strides]
    view = stored.transpose(1, 0, 2) if transposed else stored
    stride_n, stride_l = (strides[1], strides[0]) if transposed else (strides[0], strides[1])

    run = MaskingRun(device, kind, n, length, keep)
    visible = device.empty((n, keep, dim), bits, out_offset)
    device.call("mae_mask_tokens", byref(run.args), x.pointer, stride_n, stride_l, dim, SIZES[dtype], visible.pointer)
    expected = run.check()
    require_equal("visible", visible.read(), reference.take_rows(view[:, :length, :dim], expected.ids_keep))


def check_tokens_backward(
    device: Device,
    n: int,
    length: int,
    keep: int,
    dim: int,
    dtype: str,
    *,
    offset: int = 0,
    out_offset: int = 0,
    bad_ids: bool = False,
) -> None:
    """Check the gradient of kept tokens; ids outside [0, K) count as removed."""
    rng = np.random.default_rng(dim)
    bits = "u4" if SIZES[dtype] == 4 else "u2"
    grad = rng.integers(0, 2 ** (8 * SIZES[dtype]), (n, keep, dim), dtype=bits)
    restore = reference.masking_from_noise(rng.random((n, length)), keep).ids_restore
    expected = reference.put_rows(grad, restore)
    if bad_ids:
        restore[0, 0], restore[-1, -1] = -1, 2**62
        expected[0, 0], expected[-1, -1] = 0, 0
    grad_visible, ids = device.put(grad, offset), device.put(restore)
    grad_x = device.empty(expected.shape, bits, out_offset)
    device.call(
        "mae_mask_tokens_backward",
        grad_visible.pointer, ids.pointer, n, length, keep, dim, SIZES[dtype], grad_x.pointer,
    )  # fmt: skip
    require_equal("grad_x", grad_x.read(), expected)
