"""The compiled operators: found, loaded, called. `python -m mae_core.ops` reports what is there.

A library is named after the Paddle and the device it was built for (`_C-paddle3.3-cpu.so`), because
loading one of another Paddle ends the process. `MAE_CORE_OPS` chooses: `auto` (fused where built),
`fused` (an error where not), `reference` (plain Paddle operations).
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import paddle
from paddle import Tensor
from paddle.base import core
from paddle.base.layer_helper import LayerHelper

from mae_core.errors import ConfigError
from mae_core.libraries import compilation, library_files

CHOICES = ("auto", "fused", "reference")
NO_PRODUCTS = "this Paddle brings neither MKL nor oneDNN"
LIBRARY_VERSION = 3  # that of csrc/library_facts.cc
BUILD_COMMAND = "mae-core build"
DTYPES = (paddle.uint8, paddle.int16, paddle.float32, paddle.float16, paddle.bfloat16)
# Outputs of each operator, needed to name them in a static graph.
_OUTPUTS = {
    "mae_mask": ("ids_keep", "ids_remove", "ids_restore", "mask"),
    "mae_mask_tokens": ("visible", "ids_keep", "ids_remove", "ids_restore", "mask"),
    "mae_mask_image": ("visible", "ids_keep", "ids_remove", "ids_restore", "mask"),
    "mae_pixel_loss": ("loss",),
}


def own_library_name() -> str:
    """Name the file that fits this Paddle."""
    return compilation.library_name(*_paddle())


def library() -> Path | None:
    """Find the library built for this Paddle."""
    return library_files.find(*_paddle())


def _paddle() -> tuple[str, str]:
    return paddle.__version__, paddle.version.cuda() if paddle.is_compiled_with_cuda() else ""


def choice() -> str:
    """Read MAE_CORE_OPS.

    Raises:
        ConfigError: it is something else, or `fused` where nothing is built.
    """
    wish = os.environ.get("MAE_CORE_OPS", "auto")
    if wish not in CHOICES:
        raise ConfigError(f"MAE_CORE_OPS={wish}; use one of {', '.join(CHOICES)}")
    if wish == "fused" and not LOADED:
        raise ConfigError(f"MAE_CORE_OPS=fused, but {why_not()}; build it: {BUILD_COMMAND}")
    return wish


def why_not() -> str:
    """Describe why no library is loaded."""
    if LOAD_ERROR:
        return f"{own_library_name()} could not be loaded ({LOAD_ERROR})"
    cached = (library_files.cache_folder() or Path()) / own_library_name()
    if cached.exists() and (reason := library_files.distrust(cached)):
        return f"{cached} is not loaded: {reason}"
    others = library_files.others(*_paddle())
    found = f" (only {', '.join(others)})" if others else ""
    return f"no {own_library_name()} is built{found}"


def in_use() -> bool:
    """Return whether the fused operators run."""
    return choice() != "reference" and LOADED


def summary() -> str:
    """Describe in a few words what runs, for a log."""
    if in_use():
        on_cpu = f"blocks through {gemm_library()}" if gemm_library() else f"not the blocks: {NO_PRODUCTS}"
        return f"fused ({own_library_name()})" + ("" if paddle.is_compiled_with_cuda() else f", {on_cpu}")
    return (
        "reference (MAE_CORE_OPS)" if choice() == "reference" else f"reference ({why_not()}; to build: {BUILD_COMMAND})"
    )


@cache
def gemm_library() -> str | None:
    """Name the library that computes matrix products for the CPU operators, of those that Paddle brings."""
    if not LOADED:
        return None
    name = ctypes.CDLL(str(library())).mae_gemm_library
    name.restype = ctypes.c_char_p
    found = name()
    return found.decode() if found else None


def _version(path: Path) -> int:
    """Ask a library for its set of operators; 1 is that of libraries which cannot tell."""
    return int(getattr(ctypes.CDLL(str(path)), "mae_library_version", lambda: 1)())


def call(name: str, inputs: dict[str, Tensor], attrs: dict[str, Any]) -> list[Tensor]:
    """Run an operator in eager mode, or add it to the graph that is being built."""
    eager_run = getattr(paddle._C_ops, "_run_custom_op", None)
    builds_graph = not (paddle.in_dynamic_mode() or (eager_run and paddle.framework.in_dynamic_or_pir_mode()))
    if not builds_graph:
        run = eager_run or core.eager._run_custom_op  # the second is Paddle 2.6's
        result = run(name, *inputs.values(), *attrs.values())
        return list(result) if isinstance(result, list | tuple) else [result]
    helper = LayerHelper(name, **inputs)
    outputs = {out: helper.create_variable(dtype="float32") for out in _OUTPUTS[name]}  # types are inferred
    helper.append_op(type=name, inputs=inputs, outputs=outputs, attrs=attrs)
    return list(outputs.values())


def dense(x: Tensor) -> Tensor:
    """Lay a strided tensor out contiguously, as the kernels read it."""
    return x if not paddle.in_dynamic_mode() or x.is_contiguous() else x.contiguous()


def on_gpu(x: Tensor) -> bool:
    """Return whether a tensor lies on a GPU; in a graph, whether this Paddle would put it there."""
    return x.place.is_gpu_place() if paddle.in_dynamic_mode() else paddle.get_device().startswith("gpu")


def _load() -> str:
    """Register the operators; return the error, empty when there is none."""
    path = library()
    if path is None:
        return ""
    try:
        if (version := _version(path)) != LIBRARY_VERSION:
            return f"it has the operators of version {version}, this mae-core needs {LIBRARY_VERSION}"
        paddle.utils.cpp_extension.load_op_meta_info_and_register_op(str(path))
    except Exception as error:
        return str(error).strip().splitlines()[-1]
    return ""


LOAD_ERROR = _load()
LOADED = library() is not None and not LOAD_ERROR
