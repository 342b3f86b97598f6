#!/usr/bin/env python3
"""Check and time the CUDA kernels of mae-core without Paddle.

Compiles packages/mae-core/csrc/launchers.cu with nvcc, calls it through ctypes on PyTorch's GPU memory,
compares every kernel with NumPy, then times it beside PyTorch. Needs nvcc, NumPy, and PyTorch with a GPU;
`--compile-only` needs nvcc alone, and `--host` runs the same checks without a GPU with a C++ compiler.
"""

import argparse
import csv
import datetime
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuda_check.build import ARCHITECTURES, BuildError, KernelUse, build_for_host, build_with_nvcc, find_nvcc


class SetupError(RuntimeError):
    """Something that the checks need is missing."""

    exit_code = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for: 0 all is well, 1 a check failed, 2 something is missing."""
    args = _make_parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="mae-cuda-") as folder:
            if args.compile_only:
                return _compile_only(args, Path(folder))
            return _check_host(args, Path(folder)) if args.host else _check_gpu(args, Path(folder))
    except (BuildError, SetupError) as error:
        print(f"check_cuda_kernels.py: {error}", file=sys.stderr)
        return error.exit_code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--compile-only", action="store_true", help="compile and report registers, memory and spills")
    mode.add_argument("--host", action="store_true", help="run the kernels on the CPU; slow, small shapes only")
    parser.add_argument("--arch", nargs="+", default=list(ARCHITECTURES), help="architectures of --compile-only")
    parser.add_argument("--nvcc", metavar="PATH", help="nvcc to use; default: on PATH, then /usr/local/cuda")
    parser.add_argument("--only", metavar="WORD", default="", help="run the checks that have WORD in their name")
    parser.add_argument(
        "--quick", action="store_true", help="leave out large shapes and timings, for compute-sanitizer"
    )
    parser.add_argument("--csv", type=Path, default=Path("cuda_kernels.csv"), help="where the timings go")
    return parser


def _compile_only(args: argparse.Namespace, folder: Path) -> int:
    nvcc = find_nvcc(args.nvcc)
    spilling = 0
    for architecture in args.arch:
        uses = build_with_nvcc(nvcc, architecture, folder / f"{architecture}.so")
        print(f"{architecture}: {len(uses)} kernels")
        for kernel in sorted({use.kernel for use in uses}):
            print(_describe(kernel, [use for use in uses if use.kernel == kernel]))
        spilling += sum(use.spill_bytes > 0 for use in uses)
    print(f"{spilling} kernels spill registers")
    return 0


def _describe(kernel: str, uses: list[KernelUse]) -> str:
    registers = [use.registers for use in uses]
    shared, spills = max(use.shared_bytes for use in uses), [use.spill_bytes for use in uses if use.spill_bytes]
    spilled = f"{len(spills)} spill up to {max(spills)} bytes" if spills else "no spills"
    return (
        f"  {kernel:28} {len(uses):3} variants, {min(registers)} to {max(registers)} registers,"
        f" {shared} bytes of static shared memory, {spilled}"
    )


def _check_host(args: argparse.Namespace, folder: Path) -> int:
    from cuda_check.device import Device  # needs NumPy

    build_for_host(folder / "host.so")
    return _run_cases(Device(str(folder / "host.so")), args.only, large=False)


def _check_gpu(args: argparse.Namespace, folder: Path) -> int:
    torch = _import_torch()
    from cuda_check.device import TorchDevice

    major, minor = torch.cuda.get_device_capability()
    build_with_nvcc(find_nvcc(args.nvcc), f"sm_{major}{minor}", folder / "gpu.so")
    device = TorchDevice(str(folder / "gpu.so"), torch)
    print(f"{device.name}, sm_{major}{minor}, PyTorch {torch.__version__}")
    failed = _run_cases(device, args.only, large=not args.quick)
    if failed or args.quick:
        return failed
    return _time(device, args.csv)


def _import_torch() -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise SetupError(
            f"PyTorch cannot be imported ({error}); install it, or use --compile-only or --host"
        ) from error
    if not torch.cuda.is_available():
        raise SetupError("PyTorch sees no GPU; run this where there is one, or use --compile-only or --host")
    return torch


def _run_cases(device: Any, word: str, large: bool) -> int:
    from cuda_check.cases import make_cases
    from cuda_check.device import CheckError

    cases = [case for case in make_cases(large) if word in case.name]
    failed = 0
    for case in cases:
        try:
            case.run(device)
        except CheckError as error:
            failed += 1
            print(f"FAILED {case.name}: {error}")
    print(f"{device.name}: {len(cases) - failed} of {len(cases)} checks passed")
    return 1 if failed or not cases else 0


def _time(device: Any, path: Path) -> int:
    from cuda_check.device import CheckError
    from cuda_check.timing import Timing, time_all

    columns = list(Timing.__annotations__)
    today = datetime.date.today().isoformat()
    print(" ".join(f"{name:>15}" for name in columns))
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["date", "device", "torch", *columns])
            for timing in time_all(device):
                values = [getattr(timing, name) for name in columns]
                print(" ".join(f"{v:15.2f}" if isinstance(v, float) else f"{v:>15}" for v in values), flush=True)
                writer.writerow([today, device.name, device.torch.__version__, *values])
                file.flush()
    except CheckError as error:
        print(f"FAILED timing: {error}")
        return error.exit_code
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
