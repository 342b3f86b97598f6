"""`mae-core build`: compile the fused operators for the Paddle that is installed."""

import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

from mae_core.errors import UserError
from mae_core.libraries.compilation import BuildError, Paddle, compile_libraries, find_compiler, read_paddle
from mae_core.libraries.library_files import PACKAGED, cache_folder
from mae_core.process.runtime import require_paddle


def build(args: Namespace) -> None:
    """Run `mae-core build`.

    Raises:
        UserError: there is no Paddle, no compiler, no sources or no place, or what was built does not load.
    """
    try:
        paddle = _installed_paddle(args.cuda)
        device = f"CUDA {paddle.cuda}" if paddle.cuda else "CPU"
        print(f"Paddle {paddle.version}, {device}, in {paddle.folder}")
        print(f"compiler: {' '.join(find_compiler())}", flush=True)
        target, started = _writable_folder(), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mae-core-build-") as scratch:
            (library,) = compile_libraries(_sources(), [paddle], target, Path(scratch))
    except BuildError as error:
        raise UserError(str(error)) from None
    library.chmod(0o755)
    print(f"built {library} in {time.monotonic() - started:.0f} s", flush=True)
    _check()


def _installed_paddle(cuda: bool) -> Paddle:
    require_paddle()
    spec = find_spec("paddle")
    paddle = read_paddle(Path(next(iter((spec and spec.submodule_search_locations) or [""]))))
    if cuda and not paddle.cuda:
        raise UserError(f"--cuda, but Paddle {paddle.version} is the CPU distribution; install paddlepaddle-gpu first")
    return paddle


def _sources() -> Path:
    """Find csrc: a wheel has it in the package, a checkout two folders above."""
    packaged = Path(__file__).parents[1] / "csrc"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "csrc"


def _writable_folder() -> Path:
    if os.access(PACKAGED, os.W_OK):
        return PACKAGED
    folder = cache_folder()
    try:
        if folder is None:
            raise OSError("no home folder")
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)  # nobody else may change what is loaded from here
    except OSError as error:
        raise UserError(
            f"neither {PACKAGED} nor the cache folder {folder} can be written ({error.strerror or error}); "
            "set XDG_CACHE_HOME to a folder that can"
        ) from None
    print(f"{PACKAGED} cannot be written: building into {folder}")
    return folder


def _check() -> None:
    """Load the library in a new process, as a run would."""
    env = {**os.environ, "MAE_CORE_OPS": "auto"}
    done = subprocess.run([sys.executable, "-m", "mae_core.ops"], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError("it was built, but is not used: " + next((x for x in last if "operators" in x), last[-1]))
    print(next(line for line in done.stdout.splitlines() if line.startswith("operators")))
