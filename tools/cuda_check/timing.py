"""Times of the kernels on a GPU beside PyTorch's eager and compiled operations; needs PyTorch."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cuda_check.device import CheckError, TorchDevice
from cuda_check.workloads import WORKLOADS, Work

BATCHES = (64, 256, 1024, 4096)
DTYPES = ("float32", "bfloat16")
WARM_UP, REPEATS, CALLS = 10, 30, 10


@dataclass
class Timing:
    """One row of the table: times in microseconds; ratios above 1 mean that the kernel is faster."""

    op: str
    dtype: str
    n: int
    p20: float
    p50: float
    p80: float
    megabytes: float
    gigabytes_per_s: float
    copy_share: float  # time to copy as many bytes / p50
    eager: float
    eager_ratio: float
    compiled: float
    compiled_ratio: float


def time_all(device: TorchDevice, batches: Sequence[int] = BATCHES) -> Iterator[Timing]:
    """Time every operation at every batch size; what does not fit in the GPU's memory is left out."""
    for n in batches:
        for make in WORKLOADS:
            for dtype in DTYPES:
                try:
                    yield time_work(device.torch, make(device, n, dtype))
                except device.torch.cuda.OutOfMemoryError:
                    print(f"{make.__name__.strip('_')} {dtype} N={n}: not timed, the GPU's memory is too small")
                device.torch.cuda.empty_cache()


def time_work(torch: Any, work: Work) -> Timing:
    """Time one operation after checking that the kernel and PyTorch agree."""
    require_same(torch, work)
    p20, p50, p80 = _percentiles(torch, work.call)
    source = torch.empty(work.moved // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = _percentiles(torch, lambda: target.copy_(source))[1]  # reads and writes half of the bytes each
    eager = _percentiles(torch, plain_call(torch, work, work.plain))[1]
    compiled = _time_compiled(torch, work)
    return Timing(
        work.op, work.dtype, work.n, p20, p50, p80, work.moved / 1e6, work.moved / p50 / 1e3, copy / p50,
        eager, eager / p50, compiled, compiled / p50,
    )  # fmt: skip


def require_same(torch: Any, work: Work) -> None:
    """Compare what the kernel and PyTorch compute, up to one rounding of the type.

    Raises:
        CheckError: they differ.
    """
    work.call()
    expected = plain_call(torch, work, work.plain)()
    for number, (got, wanted) in enumerate(zip(work.outputs, expected, strict=True)):
        tolerance = 2.0**-7 if got.dtype == torch.bfloat16 else 1e-5
        largest = float(wanted.abs().max())
        if not torch.allclose(got.float(), wanted.float(), rtol=tolerance, atol=1e-5 * largest):
            raise CheckError(f"{work.op} {work.dtype} N={work.n}: output {number} differs from PyTorch's")


def plain_call(torch: Any, work: Work, function: Callable[..., Any]) -> Callable[[], Any]:
    """Return a call of the plain form, or of its forward and backward pass where the kernel is a gradient's."""
    if not work.is_gradient:
        return lambda: function(*work.inputs)
    leaf = work.inputs[0].detach().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf, *work.inputs[1:]), leaf)


def _time_compiled(torch: Any, work: Work) -> float:
    """Time the compiled form; NaN where this PyTorch cannot compile it."""
    try:
        torch.compiler.reset()
        return _percentiles(torch, plain_call(torch, work, torch.compile(work.plain, dynamic=False)))[1]
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the compiler raises, the kernels' times still count
        print(f"torch.compile of {work.op} failed: {(str(error).splitlines() or [repr(error)])[0]}")
        return float("nan")


def _percentiles(torch: Any, call: Callable[[], object]) -> tuple[float, float, float]:
    """Return p20, p50, p80 of a call in microseconds; several calls a measurement keep the GPU busy."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000 / CALLS)
    deciles = statistics.quantiles(times, n=10)
    return deciles[1], deciles[4], deciles[7]
