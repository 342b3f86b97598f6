"""Wheels and source distributions: what is in them, and what a user gets who installs one stage alone."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from wheels import build_distributions, unpack_paddle
from workspace import read_packages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("wheels"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++)"),
]
PACKAGES = read_packages()
PADDLES: dict[str, list[str]] = {"3.3.1": [], "3.0.0": [], "2.6.2": ["numpy<2"]}
CORE_LIBRARY = "mae_core/ops/_C-paddle3.3-cpu.so"
every_package = pytest.mark.parametrize("name", PACKAGES)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What a release uploads: all packages as source distributions, and wheels with operators for three Paddles."""
    paddles = [unpack_paddle(Path(sys.executable), version) for version in PADDLES]
    return build_distributions(Path(sys.executable), PACKAGES.values(), tmp_path_factory.mktemp("wheels"), paddles)


def by_package(files: list[Path], suffix: str) -> dict[str, Path]:
    return {path.name.partition("-")[0].replace("_", "-"): path for path in files if path.name.endswith(suffix)}


@pytest.fixture(scope="session")
def wheels(distributions: list[Path]) -> dict[str, Path]:
    """The wheels by distribution name."""
    return by_package(distributions, ".whl")


def new_environment(folder: Path, wheels: dict[str, Path], *requirements: str) -> Path:
    """Make an environment as a user would, with the wheels beside the registry; return its bin folder."""
    # The constraints hold every package of ours to its wheel, whatever a registry has by that name.
    constraints = folder / "constraints.txt"
    folder.mkdir(exist_ok=True)
    constraints.write_text("".join(f"{name} @ {path.as_uri()}\n" for name, path in wheels.items()))
    python, uv = str(folder / "env/bin/python"), shutil.which("uv")
    make = [uv, "venv", "-q", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    where = ["-q", "--find-links", str(wheels["mae-core"].parent), "--constraint", str(constraints)]
    for command in ([*make, str(folder / "env")], [*install, *where, *requirements]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "env/bin"


@pytest.fixture(scope="session")
def user_bin(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment in which `pip install mae-pretrain` was run."""
    return new_environment(tmp_path_factory.mktemp("user"), wheels, "mae-pretrain")


@pytest.fixture(scope="session")
def paddle_bins(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Those of environments in which `pip install "mae-pretrain[cpu]"` was run, each with another Paddle."""
    folder = tmp_path_factory.mktemp("paddles")
    return {
        version: new_environment(folder / version, wheels, "mae-pretrain[cpu]", f"paddlepaddle=={version}", *others)
        for version, others in PADDLES.items()
    }


def in_user_environment(user_bin: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as that user would, without the settings of this test run and without a compiler on PATH."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CXX", "MAE_"))}
    env |= {"PATH": str(user_bin), "XDG_CACHE_HOME": str(user_bin.parent / "cache")} | variables
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
    assert [file for file in files if file.endswith((".o", ".pyc", "version.txt"))] == []
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


@pytest.mark.parametrize(
    ("name", "libraries"),
    [
        ("mae-core", ["mae_core/ops/_C-paddle2.6-cpu.so", "mae_core/ops/_C-paddle3.0-cpu.so", CORE_LIBRARY]),
        ("mae-data", ["mae_data/_pixels.so"]),
    ],
)
def test_a_binary_wheel_holds_its_libraries_for_every_python(
    name: str, libraries: list[str], wheels: dict[str, Path]
) -> None:
    archive = zipfile.ZipFile(wheels[name])
    found = sorted(file for file in archive.namelist() if ".so" in file)
    assert found == libraries
    assert re.search(r"-py3-none-manylinux_2_\d+_x86_64\.whl$", wheels[name].name)
    assert [file for file in found if re.search(rb"\0_?Py[A-Z]\w+\0", archive.read(file))] == []  # symbols of Python


@pytest.mark.parametrize("version", PADDLES)
def test_an_installation_without_a_compiler_has_the_fused_operators(
    version: str, paddle_bins: dict[str, Path], record_property: Callable[[str, object], None]
) -> None:
    done = in_user_environment(paddle_bins[version], "python", "-m", "mae_core.ops")
    assert done.stdout.startswith(f"Paddle {version}, CPU\noperators: fused"), done.stdout + done.stderr
    assert shutil.which("g++", path=str(paddle_bins[version])) is None
    step = str(PACKAGES["mae-core"].folder / "benchmarks/train_step.py")
    done = in_user_environment(paddle_bins[version], "python", step, "--steps", "7", "--batch", "32")
    assert done.returncode == 0, done.stderr
    times = {line[:18].strip(): float(line.split()[-3]) for line in done.stdout.splitlines()[2:5]}
    print(f"Paddle {version}, one step of the digits' model: {times} ms")
    record_property("ms per step", times)
    assert times["and fused"] < times["linear layer"]


def test_the_build_command_makes_what_a_source_distribution_lacks(paddle_bins: dict[str, Path]) -> None:
    user_bin = paddle_bins["3.3.1"]
    (library,) = user_bin.parent.glob(f"lib/python*/site-packages/{CORE_LIBRARY}")
    packaged = library.rename(library.with_name("kept"))
    try:
        done = in_user_environment(user_bin, "python", "-m", "mae_core.ops")
        assert done.returncode == 1
        assert done.stdout.endswith("\nto build: mae-core build\n")
        done = in_user_environment(user_bin, "mae-core", "build", PATH=os.environ["PATH"])
        assert done.returncode == 0, done.stderr
        assert f"built {library} in " in done.stdout
        assert in_user_environment(user_bin, "python", "-m", "mae_core.ops").returncode == 0
    finally:
        packaged.replace(library)


def test_the_configs_are_package_data(wheels: dict[str, Path]) -> None:
    source = PACKAGES["mae-pretrain"].folder / "src"
    configs = {path.relative_to(source).as_posix() for path in source.glob("mae_pretrain/**/configs/*.yaml")}
    assert configs, "mae-pretrain has no configs"
    assert configs <= set(zipfile.ZipFile(wheels["mae-pretrain"]).namelist())


def test_one_stage_brings_the_foundations_alone(user_bin: Path) -> None:
    program = "from importlib.metadata import distributions; print(*(each.name.lower() for each in distributions()))"
    names = set(in_user_environment(user_bin, "python", "-c", program).stdout.split())
    assert {name for name in names if name.startswith("mae")} == {"mae-core", "mae-data", "mae-pretrain"}
    assert not [name for name in names if name.startswith("paddle")]
    assert {"numpy", "pillow", "yacs", "safetensors"} <= names


def test_without_paddle_a_name_that_needs_it_says_how_to_get_it(user_bin: Path) -> None:
    assert in_user_environment(user_bin, "python", "-c", "import mae_core").returncode == 0
    done = in_user_environment(user_bin, "python", "-c", "from mae_core import build_model")
    assert done.returncode == 1
    message = done.stderr[done.stderr.index("PaddleMissingError: ") :]
    for extra in ("cpu", "gpu"):  # of the file that it was installed from
        assert re.search(rf'pip install "/.*/mae_core-[^/]*\.whl\[{extra}\]"', message), message


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
    assert re.search(r'pip install "/.*/mae_core-[^/]*\.whl\[cpu\]"', done.stderr), done.stderr
    assert "Traceback" not in done.stderr
