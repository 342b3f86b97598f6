"""Building wheels from clean copies of the packages."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from steps import run_quietly
from workspace import ROOT, Package

# setuptools packs whatever lies in build/, modules that were deleted long ago included, and an
# editable installation leaves its own compiled op beside the sources.
LEFTOVERS = shutil.ignore_patterns("build", "dist", "*.egg-info", "*.so", "*.o", "__pycache__", ".*_cache")


def build_wheels(python: Path, packages: Iterable[Package], target: Path) -> list[Path]:
    """Build one wheel a package, each with the text of the licence in it.

    Args:
        python: The interpreter of an environment with Paddle, setuptools and wheel.
        packages: What to build; mae-core compiles its op where it can.
        target: Folder for the wheels; made when it is not there.

    Returns:
        The wheels that were written, by name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copies = []
        for package in packages:
            copy = Path(scratch, package.folder.name)
            shutil.copytree(package.folder, copy, ignore=LEFTOVERS)
            shutil.copy(ROOT / "LICENSE", copy)
            copies.append(str(copy))
        built = Path(scratch, "wheels")
        pip = [str(python), "-m", "pip", "wheel", "--disable-pip-version-check"]
        run_quietly([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), *copies])
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(wheel, target / wheel.name)) for wheel in sorted(built.glob("*.whl"))]
