"""How the fused operators are compiled: the one description, for setup.py and `mae-core build`.

Needs Python's own library alone, since setup.py loads it before the package is installed. Paddle is not imported.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# These know nothing of Paddle: compiled once, they are linked into the library of each.
PLAIN = (
    *("library_facts", "cpu_masking", "cpu_loss", "cpu_rows", "cpu_block", "gemm"),
    *("block_kernels", "block_kernels_avx2", "block_kernels_avx512", "block_kernels_avx512_bf16"),
)
WITH_PADDLE = ("paddle_ops", "block_op", "norm_op", "product_op")
FLAGS = ("-std=c++17", "-O3", "-fopenmp", "-w", "-g0", "-fvisibility=hidden", "-fPIC", "-fwrapv", "-DNDEBUG")
# Without Python in Paddle's headers, one library serves every version of Python.
PADDLE_FLAGS = ("-DPADDLE_NO_PYTHON",)
CUDA_FLAGS = ("-DPADDLE_WITH_CUDA=1", "-DMAE_WITH_CUDA=1")


class BuildError(Exception):
    """The operators cannot be compiled; the message names why and what to do."""


@dataclass(frozen=True)
class Paddle:
    """A Paddle to compile for: its folder, its version and that of its CUDA, empty for a CPU distribution."""

    folder: Path
    version: str
    cuda: str


def library_name(version: str, cuda: str) -> str:
    """Name the library that fits a Paddle: those of one minor version share their interface, others do not."""
    minor = ".".join(version.split(".")[:2])
    return f"_C-paddle{minor}-{f'cuda{cuda}' if cuda else 'cpu'}.so"


def read_paddle(folder: Path) -> Paddle:
    """Read what a Paddle is from the text of its folder.

    Raises:
        BuildError: the folder holds no Paddle, or one without headers.
    """
    try:
        text = (folder / "version" / "__init__.py").read_text(encoding="utf-8")
        facts = dict(re.findall(r"^(\w+) *= *'([^']*)'", text, re.MULTILINE))
        version, cuda = facts["full_version"], facts.get("cuda_version", "False")
    except (OSError, KeyError):
        raise BuildError(f"{folder} holds no PaddlePaddle; install it first") from None
    if not (folder / "include" / "paddle" / "extension.h").is_file():
        raise BuildError(f"Paddle {version} in {folder} has no headers; install it from its wheel")
    return Paddle(folder, version, "" if cuda == "False" else cuda)


def compile_libraries(sources: Path, paddles: Iterable[Paddle], target: Path, scratch: Path) -> list[Path]:
    """Compile one library per Paddle.

    Args:
        sources: the folder csrc.
        target: where the libraries go; a process that has loaded the one before keeps it.
        scratch: where object files go.

    Raises:
        BuildError: there are no sources or no compiler, or a compiler failed.
    """
    paddles = list(paddles)
    if not (sources / "paddle_ops.cc").is_file():
        raise BuildError(f"the sources of the operators are not in {sources}; install mae-core again")
    compiler = find_compiler()
    commands = [_compile(compiler, sources / f"{name}.cc", scratch / f"{name}.o") for name in PLAIN]
    for paddle in paddles:
        own = _own_objects(paddle, scratch)
        own.mkdir(parents=True, exist_ok=True)
        commands += [
            _compile(compiler, sources / f"{name}.cc", own / f"{name}.o", *_headers(paddle)) for name in WITH_PADDLE
        ]
        commands += [_compile_cuda(sources / "launchers.cu", own / "launchers.o")] if paddle.cuda else []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, commands))
    target.mkdir(parents=True, exist_ok=True)
    return [_link(compiler, paddle, target, scratch) for paddle in paddles]


def find_compiler() -> list[str]:
    """Return the command of the C++ compiler: $CXX, else g++ or c++, through ccache where that is.

    Raises:
        BuildError: there is none.
    """
    if named := os.environ.get("CXX"):
        return shlex.split(named)
    if found := shutil.which("g++") or shutil.which("c++"):
        return [*filter(None, [shutil.which("ccache")]), found]
    raise BuildError("no C++ compiler; install g++ (Debian, Ubuntu: apt install g++), or name one in CXX")


def _own_objects(paddle: Paddle, scratch: Path) -> Path:
    return scratch / Path(library_name(paddle.version, paddle.cuda)).stem


def _compile(compiler: Sequence[str], source: Path, target: Path, *flags: str) -> list[str]:
    return [*compiler, *FLAGS, *flags, "-c", str(source), "-o", str(target)]


def _headers(paddle: Paddle) -> list[str]:
    include = paddle.folder / "include"
    cuda = [*CUDA_FLAGS, f"-I{_cuda_home()}/include"] if paddle.cuda else []
    return [*PADDLE_FLAGS, f"-I{include}", f"-I{include}/third_party", *cuda]


def _link(compiler: Sequence[str], paddle: Paddle, target: Path, scratch: Path) -> Path:
    libs, name = paddle.folder / "libs", library_name(paddle.version, paddle.cuda)
    objects = [*(scratch / f"{plain}.o" for plain in PLAIN), *sorted(_own_objects(paddle, scratch).glob("*.o"))]
    # Paddle's OpenMP runtime serves GCC's calls too: linked by name, the kernels share its threads.
    openmp = "-l:libiomp5.so" if (libs / "libiomp5.so").exists() else "-fopenmp"
    cuda = [f"-L{_cuda_home()}/lib64", "-lcudart"] if paddle.cuda else []
    folders = [f"-L{libs}", f"-L{paddle.folder / 'base'}"]
    half = target / f"{name}.{os.getpid()}"
    linked = ["-Wl,--no-as-needed", openmp, "-l:libpaddle.so", "-ldl", *cuda]
    _run([*compiler, "-shared", *map(str, objects), *folders, "-o", str(half), *linked])
    return half.replace(target / name)


def _compile_cuda(source: Path, target: Path) -> list[str]:
    """Give nvcc's command. Pascal has no use here; the last architecture is kept as PTX for newer GPUs, too."""
    nvcc = shutil.which("nvcc", path=f"{_cuda_home()}/bin") or shutil.which("nvcc")
    if nvcc is None:
        raise BuildError(f"no nvcc in {_cuda_home()}/bin and on PATH; install the CUDA toolkit, or set CUDA_HOME")
    names = os.environ.get("MAE_CORE_CUDA_ARCHS", "70 75 80 86 90").split()
    codes = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in names]
    codes += [f"-gencode=arch=compute_{names[-1]},code=compute_{names[-1]}"]
    extra = os.environ.get("MAE_CORE_NVCC_FLAGS", "").split()
    return [nvcc, "-std=c++17", "-O3", *codes, *extra, "-Xcompiler", "-fPIC", "-c", str(source), "-o", str(target)]


def _cuda_home() -> str:
    return os.environ.get("CUDA_HOME", "/usr/local/cuda")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run ({error.strerror}); name another C++ compiler in CXX") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in lines if "error" in line), lines[-1])
        raise BuildError(f"{reason.strip()} (from: {shlex.join(command)})")
