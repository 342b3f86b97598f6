"""Checks of everything that reads patches from images: kept patches, the loss and its gradient."""

from ctypes import byref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_check import reference
from cuda_check.device import CheckError, Device
from cuda_check.masking_cases import MaskingRun, require_equal
from cuda_check.structures import BFLOAT16, FLOAT16, FLOAT32, UINT8, UINT16, ImageArgs, LossArgs

Array = NDArray[Any]

# "stored": float32 pixels that are normalised as integers are.
CODES = {
    "uint8": UINT8, "uint16": UINT16, "stored": FLOAT32, "float32": FLOAT32, "float16": FLOAT16, "bfloat16": BFLOAT16
}  # fmt: skip
STORED = {"uint8": "u1", "float32": "f4", "float16": "f2", "bfloat16": "u2"}
ROUNDING = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
ORDERS = {"nhwc": (0, 1, 2, 3), "nchw": (0, 3, 1, 2)}


class Images:
    """Images [N, H, W, C] in a device's memory, in any layout.

    Args:
        layout: nhwc or nchw.
        pad: pixels behind each row, rows behind each image and channels behind each pixel that are not
            part of it.
        offset: bytes that the memory is away from alignment.
        flat: each image is of one value, once normalised, too.
    """

    def __init__(
        self,
        device: Device,
        n: int,
        size: tuple[int, int],
        channels: int,
        patch: int,
        dtype: str,
        layout: str,
        *,
        pad: tuple[int, int, int] = (0, 0, 0),
        offset: int = 0,
        flat: bool = False,
    ) -> None:
        rng = np.random.default_rng(size[0] * 1009 + channels)
        shape = (n, size[0] + pad[1], size[1] + pad[0], channels + pad[2])
        self.is_stored = dtype in ("uint8", "uint16", "stored")
        values = np.broadcast_to(_draw(rng, (n, 1, 1, 1), dtype), shape) if flat else _draw(rng, shape, dtype)
        stored = np.ascontiguousarray(values.transpose(ORDERS[layout]))
        self.patch, self.dtype, self.patches = patch, dtype, size[0] // patch * (size[1] // patch)
        white = 65535 if dtype == "uint16" else 255
        self.scale = (rng.uniform(2.55, 5.1, channels) / white).astype(np.float32)
        self.shift = rng.uniform(-2.2, -1.7, channels).astype(np.float32)
        if flat:
            self.scale[:], self.shift[:] = self.scale[0], self.shift[0]
        self.values = values[:, : size[0], : size[1], :channels]
        self._buffers = device.put(stored, offset), device.put(self.scale), device.put(self.shift)
        strides = dict(zip(ORDERS[layout], (s // stored.itemsize for s in stored.strides), strict=True))
        pixels, scale, shift = (buffer.pointer for buffer in self._buffers)
        self.args = ImageArgs(
            pixels, scale if self.is_stored else None, shift if self.is_stored else None,
            strides[0], strides[1], strides[2], strides[3], CODES[dtype], *size, channels, patch,
        )  # fmt: skip

    def normalized_patches(self) -> Array:
        """Return float32 [N, L, P], as the kernels see them."""
        if self.is_stored:
            return reference.patchify(reference.normalize(self.values, self.scale, self.shift), self.patch)
        return reference.patchify(reference.decode(self.values, self.dtype), self.patch)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    if dtype in ("uint8", "uint16"):
        return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    drawn = rng.normal(size=shape).astype(np.float32)
    # 16 bits, so that float64 holds what a fused multiply-add rounds.
    return np.rint(drawn * 64) / 4 if dtype == "stored" else reference.encode(drawn, dtype)


def check_image(device: Device, images: Images, kind: str, keep: int, out: str, *, offset: int = 0) -> None:
    """Check ids, mask and kept patches, exactly."""
    n = images.values.shape[0]
    run = MaskingRun(device, kind, n, images.patches, keep)
    patches = images.normalized_patches()
    visible = device.empty((n, keep, patches.shape[2]), STORED[out], offset)
    device.call("mae_mask_image", byref(run.args), byref(images.args), visible.pointer, CODES[out])
    expected = reference.encode(reference.take_rows(patches, run.check().ids_keep), out)
    require_equal("visible", visible.read(), expected)


def check_loss(
    device: Device,
    images: Images,
    removed: int,
    dtype: str,
    norm_pix: bool,
    *,
    offset: int = 0,
    bad_ids: bool = False,
) -> None:
    """Check the loss, its gradient, that both are the same when repeated, and the error flag."""
    n = images.values.shape[0]
    rng = np.random.default_rng(removed)
    ids = np.argsort(rng.random((n, images.patches)), axis=1)[:, :removed]
    patches = images.normalized_patches()
    pred = reference.encode(rng.normal(size=(n, removed, patches.shape[2])).astype(np.float32), dtype)
    target = reference.patch_targets(reference.take_rows(patches, ids), norm_pix)
    errors = reference.decode(pred, dtype).astype(np.float64) - target
    if bad_ids:
        for at, bad in zip(((0, 0), (n - 1, removed - 1)), (-1, images.patches), strict=True):
            ids[at], errors[at] = bad, 0.0
    flag = device.put(np.zeros(1, np.int32))
    buffers = device.put(pred, offset), device.put(ids)
    count = max(errors.size, 1)
    args = LossArgs(
        buffers[0].pointer, buffers[1].pointer, flag.pointer, n, removed, CODES[dtype], int(norm_pix), 1.0 / count
    )

    first, second = (_run_loss(device, images, args, (n, removed)) for _ in range(2))
    require_equal("loss, run again", second[1], first[1])
    require_equal("partial sums, run again", second[0], first[0])
    _require_close("partial sums", first[0], np.square(errors).sum(axis=-1), 0.0)
    _require_close("loss", first[1], np.square(errors).sum(keepdims=True).reshape(1) / count, 0.0)

    args.factor = 2.0 / count
    grad_loss = device.put(np.array([0.75], np.float32))
    grad = device.empty(pred.shape, STORED[dtype], offset)
    device.call("mae_pixel_loss_backward", byref(images.args), byref(args), grad_loss.pointer, grad.pointer)
    _require_close("grad_pred", reference.decode(grad.read(), dtype), errors * (1.5 / count), ROUNDING[dtype])
    if int(flag.read()[0]) != int(bad_ids):
        raise CheckError(f"the error flag is {int(flag.read()[0])} where ids are {'bad' if bad_ids else 'good'}")


def _run_loss(device: Device, images: Images, args: LossArgs, shape: tuple[int, int]) -> tuple[Array, Array]:
    partial, loss = device.empty(shape, np.float32), device.empty((1,), np.float32)
    device.call("mae_pixel_loss", byref(images.args), byref(args), partial.pointer, loss.pointer)
    return partial.read(), loss.read()


def _require_close(what: str, got: Array, expected: Array, rounding: float) -> None:
    """Allow 1e-5 of the largest value, the rounding of the output's type and float16's smallest steps."""
    if expected.size == 0:
        return
    allowed = 1e-5 * np.abs(expected).max() + rounding * np.abs(expected) + (2.0**-25 if rounding == 2.0**-11 else 0)
    off = np.abs(got.astype(np.float64) - expected) - allowed
    if not (off <= 0).all():
        raise CheckError(f"{what}: off by {float(np.nanmax(off + allowed)):.3g}, or NaN; {expected.size} values")
