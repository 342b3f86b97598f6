"""The packages of this repository, who depends on whom (packages/*/pyproject.toml), and how programs run in it."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Python 3.10 has no reader of its own. pytest brings tomli there; a bare Python has the copy inside pip,
# which comes last because Paddle cannot be imported in a process that has imported pip.
TOML_READERS = ("tomllib", "tomli", "pip._vendor.tomli")
tomllib = import_module(next(name for name in TOML_READERS if find_spec(name)))

ROOT = Path(__file__).resolve().parents[1]

Graph = Mapping[str, Collection[str]]


class WorkspaceError(Exception):
    """A command cannot do what was asked; the message is one line for the user."""

    exit_code = 2


@dataclass(frozen=True)
class Package:
    """One folder under packages/."""

    folder: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The parsed pyproject.toml."""
        path = self.folder / "pyproject.toml"
        try:
            return dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except tomllib.TOMLDecodeError as error:
            raise WorkspaceError(f"{path}: {error}") from error

    @property
    def name(self) -> str:
        return str(self.settings["project"]["name"])

    @property
    def import_name(self) -> str:
        return self.name.replace("-", "_")

    @property
    def requirements(self) -> list[str]:
        """What the package declares, extras left out."""
        return list(self.settings["project"].get("dependencies", []))

    @property
    def extras(self) -> dict[str, list[str]]:
        return dict(self.settings["project"].get("optional-dependencies", {}))

    @property
    def version_source(self) -> tuple[Path, str]:
        """The file that `tool.setuptools.dynamic` names for the version, and the variable in it."""
        module, _, name = self.settings["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
        path = self.folder / "src" / Path(*module.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py"), name

    @property
    def version(self) -> str:
        """The version, read from its source without importing the package."""
        file, name = self.version_source
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return str(ast.literal_eval(node.value))
        raise WorkspaceError(f"{file} assigns no {name}; {self.name} needs its version there")

    @property
    def changelog(self) -> Path:
        return self.folder / "CHANGELOG.md"


def read_packages(root: Path = ROOT) -> dict[str, Package]:
    """Find every package by its distribution name."""
    folders = sorted(path.parent for path in root.glob("packages/*/pyproject.toml"))
    return {package.name: package for package in map(Package, folders)}


def release_tag(name: str, version: str) -> str:
    """Name the tag of a release, such as `mae-core-v0.2.0`."""
    return f"{name}-v{version}"


def tagged_package(tag: str, packages: Mapping[str, Package]) -> Package:
    """Find the package that a tag releases.

    Raises:
        WorkspaceError: The tag names no package, or another version than the package has here.
    """
    tags = {release_tag(name, package.version): package for name, package in packages.items()}
    if tag not in tags:
        raise WorkspaceError(f"{tag} is not the tag of a package at its present version; these are {', '.join(tags)}")
    return tags[tag]


def distribution_name(requirement: str) -> str:
    """Give the normalised name of a requirement such as `Mae_Core[cpu]>=0.1; extra == "x"`."""
    found = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    if not found:
        raise WorkspaceError(f"{requirement!r} is not a requirement; it starts with no name")
    return re.sub(r"[-_.]+", "-", found[1]).lower()


def dependency_graph(packages: Mapping[str, Package]) -> dict[str, set[str]]:
    """Map each package to the packages of this repository that it declares directly."""
    return {
        name: {distribution_name(line) for line in package.requirements} & packages.keys()
        for name, package in packages.items()
    }


def with_dependencies(names: Iterable[str], graph: Graph) -> list[str]:
    """List `names` and all that they need, each after what it depends on."""
    ordered: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise WorkspaceError(f"packages depend on each other in a circle: {' -> '.join((*path, name))}")
        for dependency in sorted(graph[name]):
            visit(dependency, (*path, name))
        if name not in ordered:
            ordered.append(name)

    for name in sorted(names):
        if name not in graph:
            raise WorkspaceError(f"no package {name!r}; there are {', '.join(sorted(graph))}")
        visit(name, ())
    return ordered


def with_dependents(names: Iterable[str], graph: Graph) -> list[str]:
    """List `names` and everything that depends on them, directly or not."""
    wanted = set(names)
    return [name for name in sorted(graph) if wanted & set(with_dependencies([name], graph))]


class CommandError(WorkspaceError):
    """A command that had to succeed did not."""

    exit_code = 1


def run(command: Sequence[str]) -> int:
    """Show a command, run it from the root of the repository and return its exit code."""
    show(command)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def run_quietly(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Show the command in one line and run it, with more variables; its last lines appear only when it fails.

    Raises:
        CommandError: The command exited non-zero.
    """
    show(command)
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-25:]), file=sys.stderr)
        raise CommandError(f"exit code {done.returncode} from: {shlex.join(command)}")


def show(command: Sequence[str]) -> None:
    """Print a command before it runs, with paths inside the repository made short."""
    print("+ " + shlex.join(command).replace(f"{ROOT}/", ""), flush=True)
