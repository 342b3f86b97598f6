"""Building source distributions from clean copies of the packages, and wheels from these."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from steps import run_quietly
from workspace import Package

# setuptools packs whatever lies in build/, modules that were deleted long ago included, and an
# editable installation leaves its own compiled op beside the sources. The tests need the whole repository.
LEFTOVERS = shutil.ignore_patterns("build", "dist", "tests", "*.egg-info", "*.so", "*.o", "__pycache__", ".*_cache")
SDIST = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"


def build_distributions(python: Path, packages: Iterable[Package], target: Path) -> list[Path]:
    """Build a source distribution and a wheel per package, each with the text of the licence in it.

    The wheel is built from the source distribution, so that what one lacks the other lacks too and a test sees it.

    Args:
        python: The interpreter of an environment with Paddle, setuptools and wheel.
        packages: What to build; mae-core compiles its operators where it can.
        target: Folder for the files; made when it is not there.

    Returns:
        The files that were written, by name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch, "built")
        for package in packages:
            copy = Path(scratch, package.folder.name)
            shutil.copytree(package.folder, copy, ignore=LEFTOVERS)
            run_quietly([str(python), "-c", SDIST, str(built)], cwd=copy)
        pip = [str(python), "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
        run_quietly([*pip, "--wheel-dir", str(built), *map(str, sorted(built.glob("*.tar.gz")))])
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(file, target / file.name)) for file in sorted(built.iterdir())]
