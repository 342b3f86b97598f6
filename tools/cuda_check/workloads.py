"""What is timed: each kernel call beside the same in PyTorch operations."""

from collections.abc import Callable
from ctypes import byref
from dataclasses import dataclass
from typing import Any

from cuda_check.device import TorchDevice
from cuda_check.structures import BFLOAT16, FLOAT32, UINT8, ImageArgs, LossArgs, MaskingArgs

LENGTH, KEEP, DIM, SIDE, PATCH = 196, 49, 768, 224, 16
REMOVED, PIXELS = LENGTH - KEEP, PATCH * PATCH * 3


@dataclass
class Work:
    """A kernel call, the bytes that it has to move, and the same in PyTorch operations."""

    op: str
    dtype: str
    n: int
    call: Callable[[], object]
    moved: int
    plain: Callable[..., Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]  # what call writes and plain returns
    is_gradient: bool = False  # plain is to be differentiated by its first input


def _masking(device: TorchDevice, n: int) -> tuple[Any, MaskingArgs, list[Any]]:
    torch = device.torch
    noise = torch.rand(n, LENGTH, device=device.place)
    shapes = ((n, KEEP), (n, REMOVED), (n, LENGTH))
    ids = [torch.empty(shape, dtype=torch.int64, device=device.place) for shape in shapes]
    mask = torch.empty(n, LENGTH, device=device.place)
    pointers = [tensor.data_ptr() for tensor in (*ids, mask)]
    args = MaskingArgs(noise.data_ptr(), None, *pointers, n, 0, 0, LENGTH, KEEP)
    return noise, args, [*ids, mask]


def _masking_bytes(n: int) -> int:
    return n * LENGTH * (4 + 8 + 8 + 4)  # noise, both halves of the order, ids_restore, mask


def _plain_masking(torch: Any, noise: Any) -> tuple[Any, Any, Any, Any]:
    order = torch.argsort(noise, dim=1, stable=True)
    restore = torch.argsort(order, dim=1)
    return order[:, :KEEP], order[:, KEEP:], restore, (restore >= KEEP).float()


def _take(torch: Any, x: Any, ids: Any) -> Any:
    return torch.gather(x, 1, ids[:, :, None].expand(-1, -1, x.shape[2]))


def _tokens(device: TorchDevice, n: int, dtype: str) -> Work:
    torch = device.torch
    x = torch.randn(n, LENGTH, DIM, device=device.place, dtype=getattr(torch, dtype))
    visible = torch.empty(n, KEEP, DIM, device=device.place, dtype=x.dtype)
    noise, args, outputs = _masking(device, n)

    def call() -> None:
        device.call(
            "mae_mask_tokens",
            byref(args), x.data_ptr(), LENGTH * DIM, DIM, DIM, x.element_size(), visible.data_ptr(),
        )  # fmt: skip

    def plain(noise: Any, x: Any) -> Any:
        masking = _plain_masking(torch, noise)
        return _take(torch, x, masking[0]), *masking

    moved = 2 * visible.numel() * x.element_size() + _masking_bytes(n)
    return Work("tokens", dtype, n, call, moved, plain, (noise, x), (visible, *outputs))


def _tokens_backward(device: TorchDevice, n: int, dtype: str) -> Work:
    torch = device.torch
    grad = torch.randn(n, KEEP, DIM, device=device.place, dtype=getattr(torch, dtype))
    grad_x = torch.empty(n, LENGTH, DIM, device=device.place, dtype=grad.dtype)
    keep, _, restore, _ = _plain_masking(torch, torch.rand(n, LENGTH, device=device.place))
    restore = restore.contiguous()

    def call() -> None:
        device.call(
            "mae_mask_tokens_backward",
            grad.data_ptr(), restore.data_ptr(), n, LENGTH, KEEP, DIM, grad.element_size(), grad_x.data_ptr(),
        )  # fmt: skip

    def plain(grad: Any, keep: Any) -> Any:
        zeros = torch.zeros(n, LENGTH, DIM, device=device.place, dtype=grad.dtype)
        return (zeros.scatter(1, keep[:, :, None].expand(-1, -1, DIM), grad),)

    moved = (grad.numel() + grad_x.numel()) * grad.element_size() + n * LENGTH * 8
    return Work("tokens backward", dtype, n, call, moved, plain, (grad, keep), (grad_x,))


def _images(device: TorchDevice, n: int) -> tuple[Any, Any, Any, ImageArgs]:
    torch = device.torch
    pixels = torch.randint(0, 256, (n, SIDE, SIDE, 3), device=device.place, dtype=torch.uint8)
    scale, shift = torch.full((3,), 0.0175, device=device.place), torch.full((3,), -2.0, device=device.place)
    pointers = pixels.data_ptr(), scale.data_ptr(), shift.data_ptr()
    args = ImageArgs(*pointers, SIDE * SIDE * 3, SIDE * 3, 3, 1, UINT8, SIDE, SIDE, 3, PATCH)
    return pixels, scale, shift, args


def _patches(pixels: Any, scale: Any, shift: Any) -> Any:
    """Normalise uint8 images and cut them into patches [N, L, P]."""
    side = SIDE // PATCH
    grid = (pixels.float() * scale + shift).reshape(-1, side, PATCH, side, PATCH, 3)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, LENGTH, PIXELS)


def _image(device: TorchDevice, n: int, dtype: str) -> Work:
    torch = device.torch
    pixels, scale, shift, image = _images(device, n)
    visible = torch.empty(n, KEEP, PIXELS, device=device.place, dtype=getattr(torch, dtype))
    noise, args, outputs = _masking(device, n)
    code = FLOAT32 if dtype == "float32" else BFLOAT16

    def call() -> None:
        device.call("mae_mask_image", byref(args), byref(image), visible.data_ptr(), code)

    def plain(noise: Any, pixels: Any, scale: Any, shift: Any) -> Any:
        masking = _plain_masking(torch, noise)
        return _take(torch, _patches(pixels, scale, shift), masking[0]).to(visible.dtype), *masking

    moved = visible.numel() * (1 + visible.element_size()) + _masking_bytes(n)
    return Work("image", dtype, n, call, moved, plain, (noise, pixels, scale, shift), (visible, *outputs))


def _loss_parts(device: TorchDevice, n: int, dtype: str) -> tuple[Any, ...]:
    torch = device.torch
    pixels, scale, shift, image = _images(device, n)
    pred = torch.randn(n, REMOVED, PIXELS, device=device.place, dtype=getattr(torch, dtype))
    remove = _plain_masking(torch, torch.rand(n, LENGTH, device=device.place))[1].contiguous()
    error = torch.zeros(1, dtype=torch.int32, device=device.place)
    code = FLOAT32 if dtype == "float32" else BFLOAT16
    pointers = pred.data_ptr(), remove.data_ptr(), error.data_ptr()
    args = LossArgs(*pointers, n, REMOVED, code, 1, 1.0 / pred.numel())

    def plain(pred: Any, remove: Any, pixels: Any, scale: Any, shift: Any) -> Any:
        target = _take(torch, _patches(pixels, scale, shift), remove)
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        errors = pred.float() - (target - mean) / (variance + 1.0e-6).sqrt()
        return (errors.square().mean().reshape(1),)

    return pred, image, args, plain, (pred, remove, pixels, scale, shift), error


def _loss(device: TorchDevice, n: int, dtype: str) -> Work:
    torch = device.torch
    pred, image, args, plain, inputs, error = _loss_parts(device, n, dtype)
    partial, loss = torch.empty(n, REMOVED, device=device.place), torch.empty(1, device=device.place)

    def call(alive: Any = error) -> None:
        device.call("mae_pixel_loss", byref(image), byref(args), partial.data_ptr(), loss.data_ptr())

    moved = pred.numel() * (pred.element_size() + 1) + n * REMOVED * (8 + 4 + 4)
    return Work("loss", dtype, n, call, moved, plain, inputs, (loss,))


def _loss_backward(device: TorchDevice, n: int, dtype: str) -> Work:
    pred, image, args, plain, inputs, error = _loss_parts(device, n, dtype)
    torch = device.torch
    args.factor *= 2
    grad, grad_loss = torch.empty_like(pred), torch.ones(1, device=device.place)

    def call(alive: Any = error) -> None:
        device.call("mae_pixel_loss_backward", byref(image), byref(args), grad_loss.data_ptr(), grad.data_ptr())

    moved = pred.numel() * (2 * pred.element_size() + 1) + n * REMOVED * 8
    return Work("loss backward", dtype, n, call, moved, plain, inputs, (grad,), is_gradient=True)


WORKLOADS = (_tokens, _tokens_backward, _image, _loss, _loss_backward)
