"""Environment that Paddle's CPU build needs to be fast. Must run before `import paddle`.

Measured on 2 cores of an AMD EPYC (float32 GEMM): 20 GFLOP/s as shipped, 36 with OMP_NUM_THREADS=2,
99-124 with MKL_DEBUG_CPU_TYPE=5 as well. FLAGS_use_stride_kernel=0 makes a CPU step 1.1x (ViT-B) to
1.9x (tiny models) faster on Paddle 3: slices and their gradients take an element-wise copy otherwise.
KMP_BLOCKTIME=1: a thread that waits for others sleeps after a millisecond, not after 200 as shipped, in which it holds
a core that another process needs. Beside two trainings on 2 cores a step with two threads took 0.57 s instead of 1.33
(digits), 1.4 instead of 3.1 (6 blocks of 192) and 2.8 instead of 3.8 (4 blocks of ViT-B); alone as long as before (10.3
and 10.5 ms, 395 and 393). 0 is better still on a full machine (0.12, 0.79, 2.6 s), and takes twice as long on an idle
one (digits).
glibc is set to keep freed memory: as shipped it returns large buffers to the system, and a ViT-B step of 5 CPU-seconds
spent a tenth of them on 86,000 page faults to get them back.
"""

import atexit
import contextlib
import ctypes
import io
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata, util
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mae_core.errors import PaddleMissingError, UserError
from mae_core.process import slurm
from mae_core.process.installation import pip_install
from mae_core.process.signals import kept_over_import

_INSTALL_HINT = (
    "PaddlePaddle is not installed; MAE needs it and leaves the choice to you:\n"
    "  CPU: {cpu}   (paddlepaddle 3.3.1 is tested, with numpy<2.4)\n"
    "  GPU: {gpu}   (paddlepaddle-gpu; newer than 2.6.2 comes from Paddle's own index,\n"
    "       see https://www.paddlepaddle.org.cn/en/install/quick - never install both)"
)


def require_paddle() -> None:
    """Raise PaddleMissingError, which holds the install commands, when no Paddle is there."""
    if util.find_spec("paddle") is None:
        commands = {extra: pip_install("mae-core", extra) for extra in ("cpu", "gpu")}
        raise PaddleMissingError(_INSTALL_HINT.format_map(commands))


def require_stack() -> None:
    """Refuse a stack in which Paddle's import crashes: 256 KiB does, 512 does not."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if 0 <= limit < 512 << 10:
        raise UserError(f"the stack may take {limit >> 10} KiB, and Paddle needs 512; raise the limit (ulimit -s 8192)")


def is_gpu_build() -> bool:
    """Return whether the GPU distribution of Paddle is installed, without importing it."""
    try:
        metadata.version("paddlepaddle-gpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def available_cores(env: Mapping[str, str] = os.environ) -> int:
    """Return how many cores this process may use: those it may run on, shared with the other ranks of this node."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if per_task := env.get("SLURM_CPUS_PER_TASK"):  # `srun` may have bound this rank to its own cores already
        return max(1, min(cores, int(per_task)))
    return max(1, cores // max(1, int(env.get("PADDLE_LOCAL_SIZE") or 1)))


def choose(env: Mapping[str, str], cores: int, cpuinfo: str, gpu: bool) -> dict[str, str]:
    """Return the variables to add to `env`; what the user set is never overridden."""
    wanted = {"OMP_NUM_THREADS": str(cores)}
    if "OMP_WAIT_POLICY" not in env:  # the standard's name for the same choice
        wanted["KMP_BLOCKTIME"] = "1"
    if (
        "AuthenticAMD" in cpuinfo and " avx2 " in cpuinfo
    ):  # MKLML takes its slowest path on AMD; on Intel the variable would harm
        wanted["MKL_DEBUG_CPU_TYPE"] = "5"
    if not gpu:
        wanted["FLAGS_use_stride_kernel"] = "0"
    return {key: value for key, value in wanted.items() if key not in env}


# By any of these the user decides how memory is handled.
_ALLOCATOR_VARIABLES = (
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_freed_memory(env: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep what is freed for the next allocation; return whether it does now.

    Where the user set glibc's variables or another allocator, and with another C library, nothing is changed.
    """
    if any(name in env for name in _ALLOCATOR_VARIABLES) or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    trim_threshold, mmap_max = -1, -4  # glibc's names are M_TRIM_THRESHOLD and M_MMAP_MAX
    return bool(mallopt and mallopt(trim_threshold, -1) and mallopt(mmap_max, 0))


def without_launchers_threads(env: Mapping[str, str], launcher: int | None = None) -> Mapping[str, str]:
    """Drop OMP_NUM_THREADS where nobody asked for it: Paddle's launcher hands 1 to each rank when it is not set.

    Args:
        launcher: process whose environment at its start holds what the user set; the parent when not given.
    """
    if "PADDLE_LOG_DIR" not in env or env.get("OMP_NUM_THREADS") != "1":
        return env
    try:
        started_with = Path(f"/proc/{launcher or os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return env
    if any(variable.startswith(b"OMP_NUM_THREADS=") for variable in started_with):
        return env
    return {key: value for key, value in env.items() if key != "OMP_NUM_THREADS"}


_chosen: dict[str, str] | None = None


def configure() -> dict[str, str]:
    """Set the variables once, before Paddle is imported; return what was set."""
    global _chosen
    if _chosen is None:
        os.environ.update(slurm.as_launched(os.environ, is_gpu_build()))
        path = Path("/proc/cpuinfo")
        cpuinfo = path.read_text(errors="replace")[:8192].replace("\n", " ") if path.exists() else ""
        wanted = choose(without_launchers_threads(os.environ), available_cores(), cpuinfo, is_gpu_build())
        if too_late := "paddle" in sys.modules and bool(wanted):
            warnings.warn(
                "import mae_core before paddle: Paddle runs up to 5 times slower on this CPU as shipped", stacklevel=3
            )
        _chosen = {} if too_late else wanted
        os.environ.update(_chosen)
        warnings.filterwarnings("ignore", message="No ccache found")  # printed by each import of Paddle 3
        if not is_gpu_build():
            keep_freed_memory()
        # Paddle 2.6 brings its own zlib symbols: the standard library's must be loaded first.
        import zlib  # noqa: F401
    return _chosen


def ensure_home() -> None:
    """Give this process a home of its own where the user's cannot be written: Paddle makes folders in `~/.cache`.

    Raises:
        UserError: there is no place for temporary files either.
    """
    home = Path(os.path.expanduser("~"))
    try:
        if not home.is_absolute():  # no HOME, and a user without an entry
            raise OSError
        (home / ".cache" / "paddle").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home / ".cache" / "paddle").close()
    except OSError:
        try:
            os.environ["HOME"] = tempfile.mkdtemp(prefix="mae-home-")
        except OSError as error:
            raise UserError(
                f"neither HOME nor a temporary folder can be written ({error.strerror}); set HOME or TMPDIR to one"
            ) from None
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End now: where an import of compiled code has seen Ctrl-C, Python itself would end by the signal."""
    os.write(2, b"interrupted by Ctrl-C\n")
    os._exit(130)


def start(cli: str) -> int:
    """Run a module's command line and return the exit code; Ctrl-C while it is imported is one line, as it is later.

    Args:
        cli: name of the module, which has a function `main`.
    """
    try:
        return int(import_module(cli).main())
    except KeyboardInterrupt:
        _leave(signal.SIGINT, None)


@contextlib.contextmanager
def leave_on_interrupt() -> Iterator[None]:
    """Leave at once on Ctrl-C, while there is nothing to lose: an import may swallow it, or turn it into a crash."""
    if ours := signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and (
        threading.current_thread() is threading.main_thread()
    ):
        previous = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, previous)


def import_paddle() -> None:
    """Import Paddle without what it prints about thread counts; console scripts and `mae_core.NAME` call this.

    Raises:
        PaddleMissingError: it is not installed.
        UserError: it finds no place for its files, or too small a stack.
    """
    require_paddle()
    require_stack()
    ensure_home()
    with kept_over_import(), leave_on_interrupt(), contextlib.redirect_stderr(io.StringIO()):
        import paddle  # noqa: F401


def public_name(package: str, modules: Mapping[str, str], name: str) -> Any:
    """Return what a package offers under a name, for its `__getattr__` (PEP 562): imported on first use, after Paddle.

    Args:
        modules: which module of the package each name is of.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    import_paddle()
    return getattr(import_module(f"{package}.{modules[name]}"), name)


def chosen_settings() -> str:
    """Name the device settings that were chosen here and those that the user set."""
    keys = ("OMP_NUM_THREADS", "KMP_BLOCKTIME", "MKL_DEBUG_CPU_TYPE", "FLAGS_use_stride_kernel")
    chosen = configure()
    parts = [f"{k}={os.environ[k]} ({'chosen' if k in chosen else 'yours'})" for k in keys if k in os.environ]
    return ", ".join(parts) or "Paddle was imported first, nothing set"


def version_line(name: str, version: str) -> str:
    """Return the line of `--version`: the package, Paddle and what it runs on, without importing Paddle."""
    found = {}
    for package in ("paddlepaddle-gpu", "paddlepaddle", "mae-core"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    paddle = next((f"{package} {found[package]}" for package in list(found) if package != "mae-core"), "no Paddle")
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) if "paddlepaddle-gpu" in found else 0
    device = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"CPU, {available_cores()} cores"
    core = [] if name == "mae-core" else [f"mae-core {found.get('mae-core', 'unknown')}"]
    return f"{name} {version} ({', '.join([*core, paddle, device])})"
