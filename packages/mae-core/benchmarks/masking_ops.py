"""Time the fused operators against the same in Paddle operations, taking turns.

    python packages/mae-core/benchmarks/masking_ops.py [--repeat 15] [--case WORDS] [--csv FILE]

composite: the usual formulation (normalise the whole batch, patchify, argsort twice, take_along_axis).
reference: what runs where nothing is built, `mae_core.ops.reference` (rows of a flat table are gathered before
pixels are normalised). Forward + backward of tokens is bound by memory: the gradient of all tokens is written.
Memory is what one run adds to the peak, from /proc (Linux).
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# isort: off
import mae_core  # noqa: F401 - before Paddle: it prepares the CPU runtime
import paddle

# isort: on
from mae_core.ops import Pixels, masked_pixel_loss, masking_noise, random_masking, take_rows

KINDS = ("fused", "reference", "composite")
TOKEN_CASES = [(n, length, dim) for n in (64, 256) for length in (196, 256) for dim in (768, 1024)]
IMAGE_CASES = [(n, size) for n in (64, 256) for size in (224,)]
SCALE, SHIFT = [0.0171, 0.0175, 0.0174], [-2.118, -2.036, -1.804]
PIXELS = Pixels(16, paddle.to_tensor(SCALE), paddle.to_tensor(SHIFT))


def composite_tokens(x, noise):
    order = paddle.argsort(noise, axis=1)
    restore = paddle.argsort(order, axis=1)
    keep = order[:, : x.shape[1] // 4]
    visible = paddle.take_along_axis(x, keep.unsqueeze(-1), axis=1)
    mask = (restore >= x.shape[1] // 4).astype("float32")
    return visible, keep, restore, mask


def composite_images(images, noise):
    n, size = images.shape[0], images.shape[1]
    x = images.astype("float32") * PIXELS.scale + PIXELS.shift
    grid = size // 16
    x = x.reshape([n, grid, 16, grid, 16, 3]).transpose([0, 1, 3, 2, 4, 5]).reshape([n, grid * grid, 768])
    return composite_tokens(x, noise)


def composite_loss(pred, images, ids):
    n, size = images.shape[0], images.shape[1]
    x = images.astype("float32") * PIXELS.scale + PIXELS.shift
    grid = size // 16
    x = x.reshape([n, grid, 16, grid, 16, 3]).transpose([0, 1, 3, 2, 4, 5]).reshape([n, grid * grid, 768])
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()
    return (pred - take_rows(x, ids)).square().mean()


def with_backward(forward):
    def run(x, *args):
        visible = forward(x, *args)[0]
        visible.backward(paddle.ones_like(visible))
        x.clear_gradient()

    return run


def loss_with_backward(loss):
    def run(pred, *args):
        loss(pred, *args).backward()
        pred.clear_gradient()

    return run


def mask_tokens(x, noise):
    return random_masking(x, noise=noise)


def mask_images(images, noise):
    return random_masking(images, noise=noise, pixels=PIXELS)


def pixel_loss(pred, images, ids):
    return masked_pixel_loss(pred, images, ids, PIXELS)


def is_wanted(word, name):
    return word in f"{name} loss forward + backward" or word.startswith(name)


def make_cases(word):
    """Yield (name, our function, composite, inputs) of the cases whose name has a word."""
    rng = np.random.default_rng(0)
    for n, length, dim in TOKEN_CASES:
        name = f"tokens N={n} L={length} D={dim}"
        if not is_wanted(word, name):
            continue
        x = paddle.to_tensor(rng.random((n, length, dim), dtype="float32"))
        inputs = x, paddle.to_tensor(masking_noise(0, 0, np.arange(n), length))
        yield f"{name} forward", mask_tokens, composite_tokens, inputs
        x.stop_gradient = False
        yield f"{name} forward + backward", with_backward(mask_tokens), with_backward(composite_tokens), inputs
    for n, size in IMAGE_CASES:
        name, length = f"images N={n} {size}x{size}", (size // 16) ** 2
        if not is_wanted(word, name):
            continue
        images = paddle.to_tensor(rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8))
        noise = paddle.to_tensor(masking_noise(0, 0, np.arange(n), length))
        yield f"{name} forward", mask_images, composite_images, (images, noise)
        pred = paddle.to_tensor(rng.random((n, length - length // 4, 768), dtype="float32"), stop_gradient=False)
        inputs = pred, images, mask_images(images, noise)[1].ids_remove
        run = loss_with_backward(pixel_loss), loss_with_backward(composite_loss)
        yield f"{name} loss forward + backward", *run, inputs


def run_kind(kind, case):
    """Run a case once and return the milliseconds."""
    _, ours, composite, inputs = case
    os.environ["MAE_CORE_OPS"] = "reference" if kind == "reference" else "fused"
    started = time.perf_counter()
    (composite if kind == "composite" else ours)(*inputs)
    return (time.perf_counter() - started) * 1e3


def high_water_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def peak_mb(name, which):
    """Memory that the first run of a case adds to the peak, in a process of its own."""
    command = [sys.executable, __file__, "--peak", which, "--case", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--case", default="", help="only cases with this in their name")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--peak", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = (case for case in make_cases(args.case) if args.case in case[0])
    if args.peak:
        case = next(case for case in cases if case[0] == args.case)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is in use
        before = high_water_kb()
        run_kind(args.peak, case)
        print((high_water_kb() - before) / 1024)
        return
    print(f"Paddle {paddle.__version__}, {paddle.get_device()}; milliseconds p20 / p50 / p80, memory, ratio to fused")
    rows = []
    for case in cases:
        times = [[run_kind(kind, case) for kind in KINDS] for _ in range(args.repeat + 1)][1:]
        quantiles = np.quantile(times, [0.2, 0.5, 0.8], axis=0)
        ratios = np.median(np.array(times) / np.array(times)[:, :1], axis=0)
        print(case[0])
        for kind, (low, middle, high), ratio in zip(KINDS, quantiles.T, ratios, strict=True):
            memory = peak_mb(case[0], kind)
            rows.append([case[0], kind, low, middle, high, memory, ratio])
            print(f"  {kind:10}{low:8.1f} /{middle:8.1f} /{high:8.1f}{memory:6.0f} MB{ratio:6.1f}", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows([["case", "kind", "p20", "p50", "p80", "peak MB", "ratio"], *rows])


if __name__ == "__main__":
    main()
