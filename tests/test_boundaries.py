"""The rules between packages: who may import whom, and what every package carries."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from workspace import ROOT, Package, read_packages

PACKAGES = read_packages()
FOUNDATIONS = {"mae_core", "mae_data"}
STAGES = {"mae_pretrain", "mae_finetune", "mae_probe"}
OURS = FOUNDATIONS | STAGES
YACS_HOMES = {"mae_core": {"config.py"}} | {stage: {"config.py", "train.py", "cli.py"} for stage in STAGES}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}

every_package = pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each module imported, at any depth, by statement or by constant name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for value in node.args[:1]:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield node.lineno, value.value


def import_faults(owner: str, file: str, source: str) -> list[str]:
    """List the imports that `file` (relative to the import package `owner`) must not have."""
    allowed = {owner} if owner in FOUNDATIONS else {owner} | FOUNDATIONS
    faults = []
    for line, module in imported_modules(ast.parse(source)):
        top = module.partition(".")[0]
        if top in OURS - allowed:
            faults.append(f"{owner}/{file}:{line} imports {module}; {owner} may import {sorted(allowed)}")
        if top == "yacs" and file not in YACS_HOMES.get(owner, ()):
            faults.append(f"{owner}/{file}:{line} imports yacs; take plain keyword arguments instead")
    return faults


@pytest.mark.parametrize(
    ("owner", "file", "source", "faults"),
    [
        ("mae_core", "engine.py", "import numpy\nfrom mae_core.optim import x\nfrom . import y\n", 0),
        ("mae_core", "engine.py", "import mae_data\n", 1),
        ("mae_core", "config.py", "from yacs.config import CfgNode\n", 0),
        ("mae_core", "engine.py", "from yacs.config import CfgNode\n", 1),
        ("mae_core", "models/config.py", "import yacs\n", 1),
        ("mae_data", "loader.py", "def f():\n    from mae_core import engine\n", 1),
        ("mae_data", "config.py", "import yacs.config\n", 1),
        ("mae_data", "loader.py", "import importlib\nimportlib.import_module('mae_pretrain.cli')\n", 1),
        (
            "mae_pretrain",
            "train.py",
            "import mae_core.engine, mae_data\nfrom yacs.config import CfgNode\n",
            0,
        ),
        ("mae_pretrain", "plots.py", "import yacs\nimport mae_probe\nfrom mae_finetune import mixup\n", 3),
        ("mae_probe", "lars.py", "import mae_core_extra\n", 0),
    ],
)
def test_the_checker_sees_a_violation(owner: str, file: str, source: str, faults: int) -> None:
    assert len(import_faults(owner, file, source)) == faults


def test_the_packages_are_those_the_rules_speak_of() -> None:
    assert {package.import_name for package in PACKAGES.values()} == OURS


@every_package
def test_imports_stay_inside_the_boundaries(package: Package) -> None:
    root = package.folder / "src" / package.import_name
    files = sorted(root.rglob("*.py"))
    assert files, f"{root} holds no Python file"
    faults = [
        fault
        for file in files
        for fault in import_faults(
            package.import_name, file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")
        )
    ]
    assert not faults, "\n".join(faults)


@every_package
def test_a_package_holds_one_top_level_module(package: Package) -> None:
    found = {path.name for path in (package.folder / "src").iterdir() if not path.name.endswith(".egg-info")}
    assert found == {package.import_name}


def test_every_file_name_says_what_is_inside() -> None:
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    paths = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    assert "pyproject.toml" in paths
    assert [path for path in paths if Path(path).stem.lower() in EMPTY_NAMES] == []


@every_package
def test_sibling_ranges_admit_the_sibling(package: Package) -> None:
    declared = [*package.requirements, *(line for lines in package.extras.values() for line in lines)]
    siblings = [Requirement(line) for line in declared if Requirement(line).name in PACKAGES]
    assert bool(siblings) == (package.import_name in STAGES)
    for sibling in siblings:
        assert len(sibling.specifier) > 0, f"{package.name} takes any {sibling.name}; declare a range"
        assert PACKAGES[sibling.name].version in sibling.specifier, f"{package.name}: {sibling}"
        assert not any(part.operator in ("==", "===") for part in sibling.specifier), f"{sibling} is a pin"


@every_package
def test_paddle_is_an_extra_only(package: Package) -> None:
    assert not [line for line in package.requirements if line.startswith("paddle")]
    assert "cpu" in package.extras


@every_package
def test_what_every_package_carries(package: Package) -> None:
    for file in ("README.md", "CHANGELOG.md", f"src/{package.import_name}/py.typed"):
        assert (package.folder / file).is_file(), f"{package.name} has no {file}"
    project = package.settings["project"]
    assert project["license"] in ("Apache-2.0", {"text": "Apache-2.0"})
    assert project["readme"] == "README.md"
    assert project["requires-python"] == ">=3.10"
    assert project["dynamic"] == ["version"]


@every_package
def test_the_changelog_begins_with_the_version(package: Package) -> None:
    headings = re.findall(
        r"^## +\[?v?([^\]\s]+)", (package.folder / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[:1] == [package.version]


def test_the_licence_is_the_full_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "END OF TERMS AND CONDITIONS" in text
