"""Build csrc/launchers.cu: with nvcc for a GPU, or with a C++ compiler to run the kernels on the host."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "packages" / "mae-core" / "csrc"
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
NVCC_FLAGS = ("-std=c++17", "-O3", "-Xcompiler", "-fPIC,-Wall,-Wextra", "-Xptxas", "-v")
# Undefined behaviour ends the program; an access that is not aligned ends a kernel on a GPU as well.
_TRAPS = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
HOST_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-ffp-contract=off", *_TRAPS)


class BuildError(RuntimeError):
    """A compiler is missing or fails."""

    exit_code = 2


class KernelUse(NamedTuple):
    """What ptxas reports for one instantiation of a kernel."""

    kernel: str
    registers: int
    shared_bytes: int
    spill_bytes: int


def find_nvcc(given: str | None = None) -> str:
    """Return the path of nvcc: the given one, on PATH, or in /usr/local/cuda."""
    found = shutil.which(given or "nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if found is None or (given and not shutil.which(given)):
        raise BuildError(f"{given or 'nvcc'} was not found; install the CUDA toolkit or pass --nvcc PATH")
    return found


def build_with_nvcc(nvcc: str, architecture: str, output: Path) -> list[KernelUse]:
    """Compile a shared library for one architecture, such as sm_90, and report what its kernels use."""
    arguments = [nvcc, *NVCC_FLAGS, f"-arch={architecture}", "-shared", str(CSRC / "launchers.cu"), "-o", str(output)]
    return parse_ptxas(_run(arguments))


def build_for_host(output: Path) -> None:
    """Compile the kernels with the C++ compiler against cuda_on_host.h."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise BuildError("no C++ compiler was found; install g++ to run the kernels on the host")
    source = ["-x", "c++", str(CSRC / "launchers.cu")]
    warnings = _run([compiler, *HOST_FLAGS, "-shared", f"-I{HERE}", *source, "-o", str(output)])
    if warnings:
        raise BuildError(f"the host build warns:\n{warnings}")


def parse_ptxas(text: str) -> list[KernelUse]:
    """Read the report of `ptxas -v`, one entry an instantiation."""
    uses = []
    for block in text.split("Compiling entry function")[1:]:
        name = re.search(r"\d+([a-z_]+_kernel)", block)
        registers = re.search(r"Used (\d+) registers", block)
        if name is None or registers is None:
            raise BuildError(f"the report of ptxas is not understood: {block[:200]!r}")
        shared = re.search(r"(\d+) bytes smem", block)
        spills = sum(int(count) for count in re.findall(r"(\d+) bytes spill", block))
        uses.append(KernelUse(name[1], int(registers[1]), int(shared[1]) if shared else 0, spills))
    return uses


def _run(arguments: list[str]) -> str:
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(arguments)} failed with code {done.returncode}:\n{done.stdout.strip()}")
    return done.stdout.strip()
