"""Wheels and source distributions: what is in them, and what a user gets who installs one stage alone."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from wheels import build_distributions
from workspace import read_packages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("wheels"),
]
PACKAGES = read_packages()
every_package = pytest.mark.parametrize("name", PACKAGES)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All packages as source distributions and as the wheels built from these."""
    return build_distributions(Path(sys.executable), PACKAGES.values(), tmp_path_factory.mktemp("wheels"))


def by_package(files: list[Path], suffix: str) -> dict[str, Path]:
    return {path.name.partition("-")[0].replace("_", "-"): path for path in files if path.name.endswith(suffix)}


@pytest.fixture(scope="session")
def wheels(distributions: list[Path]) -> dict[str, Path]:
    """The wheels by distribution name."""
    return by_package(distributions, ".whl")


@pytest.fixture(scope="session")
def user_bin(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment in which `pip install mae-pretrain` was run."""
    folder = tmp_path_factory.mktemp("user")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # The constraints hold every package of ours to its wheel, whatever a registry has by that name.
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name} @ {path.as_uri()}\n" for name, path in wheels.items()))
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
    where = ["--find-links", str(wheels["mae-core"].parent), "--constraint", str(constraints)]
    done = subprocess.run([*pip, *where, "mae-pretrain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"


def in_user_environment(user_bin: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as that user would, without the settings of this test run."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = [str(user_bin / command[0]), *command[1:]]
    return subprocess.run(program, capture_output=True, text=True, check=False, env=env, cwd=user_bin)


def test_every_package_became_one_wheel(wheels: dict[str, Path]) -> None:
    assert wheels.keys() == PACKAGES.keys()
    for name, path in wheels.items():
        assert path.name.split("-")[1] == PACKAGES[name].version


@every_package
def test_a_wheel_holds_its_package_and_nothing_else(name: str, wheels: dict[str, Path]) -> None:
    package = PACKAGES[name]
    files = zipfile.ZipFile(wheels[name]).namelist()
    metadata = f"{package.import_name}-{package.version}.dist-info"
    assert {file.partition("/")[0] for file in files} == {package.import_name, metadata}
    assert [file for file in files if file.endswith((".o", ".pyc", ".cu", "_C.py", "version.txt"))] == []
    assert f"{package.import_name}/py.typed" in files


@every_package
def test_a_wheel_holds_every_module_and_the_licence(name: str, wheels: dict[str, Path]) -> None:
    package = PACKAGES[name]
    archive = zipfile.ZipFile(wheels[name])
    source = package.folder / "src"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    assert {file for file in archive.namelist() if file.endswith(".py")} == modules
    licences = [file for file in archive.namelist() if re.search(r"\.dist-info/(licenses/)?LICENSE$", file)]
    assert len(licences) == 1
    assert b"Apache License" in archive.read(licences[0])


@every_package
def test_a_source_distribution_holds_what_a_build_needs(name: str, distributions: list[Path]) -> None:
    package = PACKAGES[name]
    with tarfile.open(by_package(distributions, ".tar.gz")[name]) as archive:
        names = archive.getnames()
    assert {file.partition("/")[0] for file in names} == {f"{package.import_name}-{package.version}"}
    files = {file.partition("/")[2] for file in names}
    kept = subprocess.run(["git", "ls-files", "-z", "csrc", "src"], cwd=package.folder, capture_output=True, text=True)
    assert {file for file in kept.stdout.split("\0") if file} | {"LICENSE", "README.md", "pyproject.toml"} <= files
    assert [file for file in files if file.endswith((".so", ".o", ".pyc"))] == []


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++)")
def test_the_core_wheel_holds_the_operators_for_this_paddle(wheels: dict[str, Path]) -> None:
    files = [file for file in zipfile.ZipFile(wheels["mae-core"]).namelist() if file.endswith(".so")]
    version = ".".join(importlib.metadata.version("paddlepaddle").split(".")[:2])
    assert files == [f"mae_core/ops/_C-paddle{version}-cpu.so"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")
def test_the_data_wheel_holds_its_compiled_part(wheels: dict[str, Path]) -> None:
    files = [file for file in zipfile.ZipFile(wheels["mae-data"]).namelist() if file.endswith((".so", ".c", ".h"))]
    assert files == ["mae_data/_pixels.so"]


def test_the_configs_are_package_data(wheels: dict[str, Path]) -> None:
    source = PACKAGES["mae-pretrain"].folder / "src"
    configs = {path.relative_to(source).as_posix() for path in source.glob("mae_pretrain/configs/*.yaml")}
    assert configs, "mae-pretrain has no configs"
    assert configs <= set(zipfile.ZipFile(wheels["mae-pretrain"]).namelist())


def test_one_stage_brings_the_foundations_alone(user_bin: Path) -> None:
    done = in_user_environment(user_bin, "pip", "list", "--format=freeze", "--disable-pip-version-check")
    names = {line.partition("==")[0].partition(" @")[0].lower() for line in done.stdout.splitlines()}
    assert {name for name in names if name.startswith("mae")} == {"mae-core", "mae-data", "mae-pretrain"}
    assert not [name for name in names if name.startswith("paddle")]
    assert {"numpy", "pillow", "yacs", "safetensors"} <= names


def test_without_paddle_a_name_that_needs_it_says_how_to_get_it(user_bin: Path) -> None:
    assert in_user_environment(user_bin, "python", "-c", "import mae_core").returncode == 0
    done = in_user_environment(user_bin, "python", "-c", "from mae_core import build_model")
    assert done.returncode == 1
    message = done.stderr[done.stderr.index("PaddleMissingError: ") :]
    assert 'pip install "mae-core[cpu]"' in message
    assert 'pip install "mae-core[gpu]"' in message


def test_data_tools_work_without_paddle(user_bin: Path) -> None:
    done = in_user_environment(user_bin, "mae-data", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("usage: mae-data")


def test_training_without_paddle_says_what_to_install(user_bin: Path) -> None:
    assert in_user_environment(user_bin, "mae-pretrain", "--help").returncode == 0
    done = in_user_environment(user_bin, "mae-pretrain", "-data_path", "photos")
    assert done.returncode == 2
    assert done.stderr.startswith("error: PaddlePaddle is not installed")
    assert 'pip install "mae-core[cpu]"' in done.stderr
    assert "Traceback" not in done.stderr
