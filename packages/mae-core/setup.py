"""Builds the fused operators next to the Python package, where Paddle and a compiler are there.

MAE_CORE_BUILD_OPS=auto (default) goes without them where that fails, and says so; 1 fails; 0 does not try.
The installed Paddle is asked in a process of its own, so this works with and without pip's build isolation.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WISHES = ("auto", "0", "1")
CPU_SOURCES = [
    f"csrc/{name}.cc"
    for name in (
        *("library_facts", "paddle_ops", "cpu_masking", "cpu_loss", "cpu_rows"),
        *("block_op", "norm_op", "product_op", "cpu_block", "gemm", "block_kernels"),
        *("block_kernels_avx2", "block_kernels_avx512", "block_kernels_avx512_bf16"),
    )
]
# Pascal has no use here; the last one is also kept as PTX for GPUs that are newer than the compiler.
CUDA_ARCHITECTURES = os.environ.get("MAE_CORE_CUDA_ARCHS", "70 75 80 86 90").split()

ASK_PADDLE = """
import json, zlib, paddle
print(json.dumps({
    "version": paddle.__version__,
    "cuda": paddle.version.cuda() if paddle.is_compiled_with_cuda() else "",
    "include": paddle.sysconfig.get_include(),
    "lib": paddle.sysconfig.get_lib(),
}))
"""


def main():
    """Set the package up, with the operators where that is wanted and possible."""
    wish = os.environ.get("MAE_CORE_BUILD_OPS", "auto")
    if wish not in WISHES:
        raise SystemExit(f"MAE_CORE_BUILD_OPS={wish}; use one of {', '.join(WISHES)}")
    paddle = ask_paddle() if wish != "0" else None
    if wish == "1" and paddle is None:
        raise SystemExit("MAE_CORE_BUILD_OPS=1, but PaddlePaddle is not installed for this Python; install it first")
    if wish == "auto" and paddle is None:
        print("mae-core: no PaddlePaddle, so no fused operators; see python -m mae_core.ops", file=sys.stderr)
    extensions = [make_extension(paddle, optional=wish == "auto")] if paddle else []
    setup(ext_modules=extensions, cmdclass={"build_ext": BuildOps})


def ask_paddle():
    """Ask the Paddle of this Python (not of a build environment) where its headers are; None if there is none."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-I", "-c", ASK_PADDLE], capture_output=True, text=True, env=env)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else None


def make_extension(paddle, optional):
    """Describe how the library is compiled and linked against a Paddle."""
    has_cuda = bool(paddle["cuda"] and paddle["cuda"] != "False")
    include, lib, base = paddle["include"], Path(paddle["lib"]), Path(paddle["lib"]).parent / "base"
    # Paddle's OpenMP runtime serves GCC's calls too: linked by name, the kernels share its threads.
    openmp = ["-l:libiomp5.so"] if (lib / "libiomp5.so").exists() else ["-fopenmp"]
    extension = Extension(
        "mae_core.ops._C",
        CPU_SOURCES,
        depends=[str(path) for path in Path("csrc").iterdir()],
        include_dirs=["csrc", include, f"{include}/third_party", *cuda_folders(has_cuda, "include")],
        library_dirs=[str(lib), str(base), *cuda_folders(has_cuda, "lib64")],
        define_macros=[("PADDLE_WITH_CUDA", "1"), ("MAE_WITH_CUDA", "1")] if has_cuda else [],
        extra_compile_args=["-std=c++17", "-O3", "-fopenmp", "-w", "-g0", "-fvisibility=hidden"],
        extra_link_args=["-Wl,--no-as-needed", *openmp, "-l:libpaddle.so", "-ldl", *(["-lcudart"] if has_cuda else [])],
        language="c++",
        optional=optional,
    )
    extension.paddle, extension.has_cuda = paddle, has_cuda
    return extension


def cuda_folders(has_cuda, name):
    """Give the toolkit's folder of that name, where CUDA is asked for."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return [f"{home}/{name}"] if has_cuda else []


class BuildOps(build_ext):
    """Names the library after the Paddle it was built for, and compiles the .cu file with nvcc."""

    def get_ext_filename(self, fullname):
        extension = self.ext_map.get(fullname) if hasattr(self, "ext_map") else None
        if extension is None:
            return super().get_ext_filename(fullname)
        version = ".".join(extension.paddle["version"].split(".")[:2])
        device = f"cuda{extension.paddle['cuda']}" if extension.has_cuda else "cpu"
        return os.path.join(*fullname.split(".")[:-1], f"_C-paddle{version}-{device}.so")

    def build_extension(self, extension):
        if extension.has_cuda:
            extension.extra_objects = [self.compile_cuda()]
        super().build_extension(extension)

    def compile_cuda(self):
        """Compile the launchers with nvcc and return the object file."""
        nvcc = shutil.which("nvcc", path=os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin"))
        nvcc = nvcc or shutil.which("nvcc") or "nvcc"
        target = os.path.join(self.build_temp, "launchers.o")
        os.makedirs(self.build_temp, exist_ok=True)
        codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in CUDA_ARCHITECTURES]
        codes.append("-gencode=arch=compute_{0},code=compute_{0}".format(CUDA_ARCHITECTURES[-1]))
        extra = os.environ.get("MAE_CORE_NVCC_FLAGS", "").split()
        self.spawn(
            [nvcc, "-std=c++17", "-O3", *codes, *extra, "-Xcompiler", "-fPIC", "-c", "csrc/launchers.cu", "-o", target]
        )
        return target


main()
