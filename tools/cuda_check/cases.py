"""All checks, by name; the same ones run on the host and on a GPU."""

from collections.abc import Callable, Iterator
from ctypes import byref
from functools import partial
from typing import Any, NamedTuple

from cuda_check.device import CheckError, Device
from cuda_check.image_cases import Images, check_image, check_loss
from cuda_check.masking_cases import SIZES, MaskingRun, check_ranks, check_tokens, check_tokens_backward

FLOATS = ("float32", "float16", "bfloat16")
PIXELS = (
    ("uint8", "nhwc"), ("uint16", "nhwc"), ("stored", "nhwc"),
    ("float32", "nchw"), ("float16", "nchw"), ("bfloat16", "nchw"),
)  # fmt: skip
NOISES = ("random", "ties", "special", "philox")


class Case(NamedTuple):
    """One check."""

    name: str
    run: Callable[[Device], None]


def make_cases(large: bool) -> list[Case]:
    """Return the checks; `large` adds those that need a GPU to end soon."""
    return [*_ranks(large), *_tokens(large), *_images(large), *_losses(large), *_refusals()]


def _ranks(large: bool) -> Iterator[Case]:
    for length in (1, 2, 31, 33, 196, 255, 256, 257, 1024, 1025, 4096, *((16384,) if large else ())):
        for kind in NOISES:
            n, keep = (2 if length > 1024 else 3), max(1, length // 4)
            yield Case(f"ranks {kind} L={length}", partial(check_ranks, kind=kind, n=n, length=length, keep=keep))
    for keep in (0, 1, 195, 196):
        yield Case(f"ranks keep={keep}", partial(check_ranks, kind="random", n=2, length=196, keep=keep))
    if large:
        yield Case("ranks N=4096", partial(check_ranks, kind="philox", n=4096, length=196, keep=49))
        yield Case("ranks N=4096 L=1024", partial(check_ranks, kind="ties", n=4096, length=1024, keep=256))


def _tokens(large: bool) -> Iterator[Case]:
    for dtype in FLOATS:
        for n, length, keep, dim in (
            (1, 1, 1, 1), (2, 31, 7, 5), (3, 33, 33, 6), (2, 196, 49, 64), (5, 196, 1, 8), (40, 300, 75, 8),
            (2, 300, 75, 12),
        ):  # fmt: skip
            name = f"{dtype} N={n} L={length} K={keep} D={dim}"
            shape: dict[str, Any] = {"n": n, "length": length, "keep": keep, "dim": dim, "dtype": dtype}
            yield Case(f"tokens {name}", partial(check_tokens, kind="philox", **shape))
            yield Case(f"tokens backward {name}", partial(check_tokens_backward, **shape))
        shape = {"n": 2, "length": 50, "keep": 12, "dim": 16, "dtype": dtype}
        tokens = partial(check_tokens, kind="ties", **shape)
        yield Case(f"tokens padded {dtype}", partial(tokens, pad=(3, 2)))
        yield Case(f"tokens padded in 16 bytes {dtype}", partial(tokens, pad=(8, 1)))
        yield Case(f"tokens transposed {dtype}", partial(tokens, transposed=True))
        for offset, out_offset in ((4, 0), (0, 4), (SIZES[dtype], SIZES[dtype])):
            unaligned: dict[str, Any] = {"offset": offset, "out_offset": out_offset}
            name = f"unaligned {dtype} {offset} {out_offset}"
            yield Case(f"tokens {name}", partial(tokens, **unaligned))
            yield Case(f"tokens backward {name}", partial(check_tokens_backward, **shape, **unaligned))
        yield Case(f"tokens backward bad ids {dtype}", partial(check_tokens_backward, **shape, bad_ids=True))
    yield Case("tokens none", partial(check_tokens, kind="random", n=0, length=9, keep=2, dim=4, dtype="float32"))
    yield Case("tokens keep none", partial(check_tokens, kind="random", n=2, length=9, keep=0, dim=4, dtype="float32"))
    long: dict[str, Any] = {"n": 2, "length": 4096, "keep": 1000, "dim": 4, "dtype": "float32"}
    yield Case("tokens L=4096", partial(check_tokens, kind="random", **long))
    if large:
        for n, length, dim in ((4096, 196, 768), (1024, 1024, 512), (64, 4096, 1024), (7, 16384, 96)):
            shape = {"n": n, "length": length, "keep": length // 4, "dim": dim, "dtype": "bfloat16"}
            yield Case(f"tokens N={n} L={length} D={dim}", partial(check_tokens, kind="philox", **shape))
            yield Case(f"tokens backward N={n} L={length} D={dim}", partial(check_tokens_backward, **shape))


def _image_case(device: Device, image: dict[str, Any], **kwargs: Any) -> None:
    check_image(device, Images(device, **image), **kwargs)


def _loss_case(device: Device, image: dict[str, Any], **kwargs: Any) -> None:
    check_loss(device, Images(device, **image), **kwargs)


def _images(large: bool) -> Iterator[Case]:
    for dtype, layout in PIXELS:
        for out in FLOATS:
            for size, channels, patch in (
                ((48, 32), 3, 16),
                ((28, 42), 3, 14),
                ((21, 14), 3, 7),
                ((12, 8), 1, 4),
                ((8, 8), 5, 2),
            ):
                image: dict[str, Any] = {
                    "n": 2,
                    "size": size,
                    "channels": channels,
                    "patch": patch,
                    "dtype": dtype,
                    "layout": layout,
                }
                keep = max(1, size[0] // patch * (size[1] // patch) // 3)
                name = f"image {dtype} {layout} -> {out} {size} C={channels} p={patch}"
                yield Case(name, partial(_image_case, image=image, kind="random", keep=keep, out=out))
    base: dict[str, Any] = {"n": 3, "size": (32, 48), "channels": 3, "patch": 16}
    for dtype in ("uint8", "uint16", "stored", "float32"):
        for layout in ("nhwc", "nchw"):
            for pad, offset in (((0, 0, 0), 0), ((5, 3, 0), 0), ((0, 0, 0), 4), ((4, 0, 0), 0), ((0, 0, 1), 0)):
                image = {**base, "dtype": dtype, "layout": layout, "pad": pad, "offset": offset}
                name = f"image {dtype} {layout} pad={pad} offset={offset}"
                yield Case(name, partial(_image_case, image=image, kind="philox", keep=2, out="float32", offset=offset))
    odd: dict[str, Any] = {**base, "dtype": "uint8", "layout": "nhwc", "offset": 1}
    for offset in (0, 2):
        run = partial(_image_case, image=odd, kind="philox", keep=2, out="bfloat16", offset=offset)
        yield Case(f"image odd address, offset={offset}", run)
    half: dict[str, Any] = {**base, "dtype": "uint16", "layout": "nhwc", "offset": 2}
    yield Case("image uint16 at 2 bytes", partial(_image_case, image=half, kind="philox", keep=2, out="float32"))
    for size in ((136, 136), (264, 264)):  # L = 289 and 1089: ranks in a launch of their own
        image = {"n": 2, "size": size, "channels": 3, "patch": 8, "dtype": "uint8", "layout": "nhwc"}
        yield Case(f"image {size}", partial(_image_case, image=image, kind="philox", keep=30, out="float32"))
    if large:
        image = {
            "n": 1024,
            "size": (224, 224),
            "channels": 3,
            "patch": 16,
            "dtype": "uint8",
            "layout": "nhwc",
        }
        yield Case("image N=1024", partial(_image_case, image=image, kind="philox", keep=49, out="bfloat16"))


def _losses(large: bool) -> Iterator[Case]:
    for norm_pix in (False, True):
        for dtype, layout in PIXELS:
            for pred in FLOATS:
                for size, channels, patch in (((32, 48), 3, 16), ((28, 42), 3, 14), ((21, 14), 3, 7)):
                    image: dict[str, Any] = {
                        "n": 2,
                        "size": size,
                        "channels": channels,
                        "patch": patch,
                        "dtype": dtype,
                        "layout": layout,
                    }
                    name = f"loss {dtype} {layout} pred {pred} {size} p={patch} norm={norm_pix}"
                    yield Case(name, partial(_loss_case, image=image, removed=4, dtype=pred, norm_pix=norm_pix))
        image = {
            "n": 3,
            "size": (32, 48),
            "channels": 3,
            "patch": 16,
            "dtype": "uint8",
            "layout": "nhwc",
        }
        loss = partial(_loss_case, dtype="float32", norm_pix=norm_pix)
        yield Case(f"loss bad ids norm={norm_pix}", partial(loss, image=image, removed=3, bad_ids=True))
        for offset, pred_offset in ((1, 0), (0, 4), (2, 4)):
            unaligned: dict[str, Any] = {"image": {**image, "offset": offset}, "removed": 3, "offset": pred_offset}
            yield Case(f"loss unaligned {offset} {pred_offset} norm={norm_pix}", partial(loss, **unaligned))
        yield Case(f"loss of nothing norm={norm_pix}", partial(loss, image=image, removed=0))
        yield Case(f"loss of no sample norm={norm_pix}", partial(loss, image={**image, "n": 0}, removed=2))
        for patch in (32, 64, 80):  # fewer warps per block, one, and patches too large for shared memory
            wide: dict[str, Any] = {**image, "size": (patch, 2 * patch), "patch": patch, "n": 2}
            yield Case(f"loss p={patch} norm={norm_pix}", partial(loss, image=wide, removed=2))
        small: dict[str, Any] = {**image, "size": (64, 64), "channels": 1, "patch": 2, "n": 2}
        yield Case(f"loss of many patches norm={norm_pix}", partial(loss, image=small, removed=700))
        for dtype, size in (("uint8", (64, 64)), ("float32", (64, 64)), ("uint8", (160, 160))):
            one_value: dict[str, Any] = {**image, "dtype": dtype, "size": size, "patch": size[0] // 2, "flat": True}
            yield Case(f"loss flat {dtype} {size} norm={norm_pix}", partial(loss, image=one_value, removed=2))
        if large:
            big: dict[str, Any] = {**image, "n": 512, "size": (224, 224)}
            yield Case(f"loss N=512 norm={norm_pix}", partial(loss, image=big, removed=147))


def _refuse_address(device: Device, dtype: str) -> None:
    run, images = MaskingRun(device, "random", 2, 6, 2), Images(device, 2, (32, 48), 3, 16, dtype, "nhwc", offset=1)
    out = device.empty((2, 2, 768), "f4")
    code = device.try_call("mae_mask_image", byref(run.args), byref(images.args), out.pointer, 1)
    if code != 1:
        raise CheckError(f"{dtype} at an odd address returned {code} instead of 1 (invalid value)")


def _refusals() -> Iterator[Case]:
    for dtype in ("uint16", "stored"):
        yield Case(f"refuses {dtype} at an odd address", partial(_refuse_address, dtype=dtype))

    def refuse(device: Device, field: str, value: int) -> None:
        run = MaskingRun(device, "random", 2, 6, 2)
        images = Images(device, 2, (32, 48), 3, 16, "uint8", "nhwc")
        setattr(run.args if hasattr(run.args, field) else images.args, field, value)
        out = device.empty((2, 2, 768), "f4")
        code = device.try_call("mae_mask_image", byref(run.args), byref(images.args), out.pointer, 1)
        if code != 1:
            raise CheckError(f"{field}={value} returned {code} instead of 1 (invalid value)")

    bad: dict[str, Any] = {
        "length": 7,
        "keep": 7,
        "samples": -1,
        "height": 33,
        "patch": 0,
        "channels": 0,
        "dtype": 9,
        "width": 0,
    }
    for field, value in {**bad, "scale": 0}.items():
        yield Case(f"refuses {field}={value}", partial(refuse, field=field, value=value))
