"""Builds the fused operators next to the Python package, where Paddle and a compiler are there.

MAE_CORE_BUILD_OPS=auto (default) goes without them where that fails, and says so; 1 fails; 0 does not try.
MAE_CORE_BUILD_FOR=FOLDER:FOLDER names what holds the Paddles to build for: site-packages, or an unpacked wheel. Else it
is the one that is installed; a process of its own finds it, so with pip's build isolation, too.
How to compile is said in src/mae_core/libraries/compilation.py, which `mae-core build` shares.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent / "src" / "mae_core" / "libraries"))
import compilation

sys.path.pop(0)

WISHES = ("auto", "0", "1")
WISH = os.environ.get("MAE_CORE_BUILD_OPS", "auto")
FIND_PADDLE = "from importlib.util import find_spec as find; print(find('paddle').submodule_search_locations[0])"


def main():
    """Set the package up, with the operators where that is wanted and possible."""
    if WISH not in WISHES:
        raise SystemExit(f"MAE_CORE_BUILD_OPS={WISH}; use one of {', '.join(WISHES)}")
    try:
        paddles = [compilation.read_paddle(folder) for folder in paddle_folders()] if WISH != "0" else []
    except compilation.BuildError as error:
        paddles = go_without(error)
    setup(
        ext_modules=[make_extension(number, paddle) for number, paddle in enumerate(paddles)],
        cmdclass={"build_ext": BuildOps, "build_py": WithSources, "bdist_wheel": ForAnyPython},
    )


def paddle_folders():
    """List the Paddles to build for: those that are named, or that of this Python (not of a build environment)."""
    if named := os.environ.get("MAE_CORE_BUILD_FOR"):
        return [Path(folder, "paddle") for folder in named.split(os.pathsep)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-I", "-c", FIND_PADDLE], capture_output=True, text=True, env=env)
    if done.returncode:
        raise compilation.BuildError("PaddlePaddle is not installed for this Python; install it first")
    return [Path(done.stdout.strip())]


def go_without(error):
    """Say why there will be no operators and give none, or fail where they were demanded."""
    if WISH == "1":
        raise SystemExit(f"MAE_CORE_BUILD_OPS=1, but {error}")
    print(f"mae-core: no fused operators, {error}; then: mae-core build", file=sys.stderr)
    return []


def make_extension(number, paddle):
    """Announce a library to setuptools, which then knows that the wheel is for this kind of machine."""
    extension = Extension(f"mae_core.ops._C{number}", [], optional=WISH == "auto")
    extension.paddle = paddle
    return extension


class BuildOps(build_ext):
    """Compiles the libraries, each named after the Paddle it is for."""

    def get_ext_filename(self, fullname):
        paddle = self.ext_map[fullname].paddle
        return os.path.join("mae_core", "ops", compilation.library_name(paddle.version, paddle.cuda))

    def build_extensions(self):
        target, paddles = Path(self.build_lib, "mae_core", "ops"), [extension.paddle for extension in self.extensions]
        try:
            compilation.compile_libraries(Path("csrc"), paddles, target, Path(self.build_temp))
        except compilation.BuildError as error:
            go_without(error)


class WithSources(build_py):
    """Puts the sources of the operators into the package, for `mae-core build`."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree("csrc", Path(self.build_lib, "mae_core", "csrc"), dirs_exist_ok=True)


class ForAnyPython(bdist_wheel):
    """Tags a wheel that holds libraries with the machine alone: they use nothing of Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


main()
