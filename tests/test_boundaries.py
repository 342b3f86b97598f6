"""The rules between packages: who may import whom, and what every package carries."""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from workspace import ROOT, Package, read_packages

pytestmark = pytest.mark.once

PACKAGES = read_packages()
FOUNDATIONS = {"mae_core", "mae_data"}
STAGES = {"mae_pretrain", "mae_finetune", "mae_probe"}
OURS = FOUNDATIONS | STAGES
YACS_HOMES = {"mae_core": {"stage/config/node.py"}} | {stage: {"config.py", "train.py", "cli.py"} for stage in STAGES}
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


def test_the_checkers_see_a_violation() -> None:
    wrong = "import yacs\nimport mae_core.process.log, mae_probe\ndef f():\n    __import__('mae_finetune.mixup')\n"
    assert len(import_faults("mae_pretrain", "plots.py", wrong)) == 3
    assert import_faults("mae_pretrain", "train.py", "import mae_data, yacs.config\nfrom . import mae_probe\n") == []
    upward = {"mae_core.ops.a": "from mae_core.stage import b\nimport mae_core.process.log\n", "mae_core.stage.b": ""}
    assert list(core_arrows(upward)) == [("mae_core.ops.a", "mae_core.stage.b")]


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


# The rooms of mae_core from the ground up: a room imports from those before it; the modules at the top are the ground.
CORE_ROOMS = (
    "",
    "process",
    "libraries",
    "ops",
    "models",
    "weights",
    "training",
    "evaluation",
    "export",
    "report",
    "stage",
)
CONFIG_KEY = re.compile(r"\b(DATA|MODEL|TRAIN|ROBUST)\.[A-Z][A-Z_]+|\bconfig\.[A-Z_]{2,}")


def core_modules() -> dict[str, str]:
    """Return the source of each module of mae_core by dotted name; the facade `mae_core` itself is left out."""
    root = PACKAGES["mae-core"].folder / "src"
    files = {path.relative_to(root).with_suffix(""): path for path in (root / "mae_core").rglob("*.py")}
    names = {".".join(name.parts).removesuffix(".__init__"): path for name, path in files.items()}
    doors = ("mae_core", "mae_core.__main__", "mae_core.cli")  # they stand before the rooms, and lead to any
    return {name: path.read_text(encoding="utf-8") for name, path in names.items() if name not in doors}


def core_arrows(modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each import between modules of mae_core, the imported name where it is a module itself."""
    for name, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                targets = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys() or {node.module}
            elif isinstance(node, ast.Import):
                targets = {alias.name for alias in node.names}
            else:
                continue
            yield from ((name, target) for target in sorted(targets) if target in modules)


def core_room(module: str) -> str:
    """Return the folder of mae_core that a module lies in."""
    inner = module.removeprefix("mae_core.").split(".")
    return inner[0] if inner[0] in CORE_ROOMS else ""


def test_core_is_built_from_the_ground_up() -> None:
    rank = {room: place for place, room in enumerate(CORE_ROOMS)}
    upward = [f"{a} -> {b}" for a, b in core_arrows(core_modules()) if rank[core_room(a)] < rank[core_room(b)]]
    assert upward == []


def test_core_has_no_import_circle() -> None:
    modules = core_modules()
    arrows = list(core_arrows(modules))
    left = {name: {b for a, b in arrows if a == name} for name in modules}
    assert sum(map(len, left.values())) > 100
    while ready := [name for name, needs in left.items() if not needs & left.keys() - {name}]:
        for name in ready:
            del left[name]
    assert left == {}


def test_only_the_stage_room_names_config_keys() -> None:
    sources = core_modules()
    data = PACKAGES["mae-data"].folder / "src"
    sources |= {path.stem: path.read_text(encoding="utf-8") for path in data.rglob("*.py")}
    named = {name: found[0] for name, text in sources.items() if (found := CONFIG_KEY.search(text))}
    allowed = {name for name in named if core_room(name) == "stage"}
    assert allowed
    assert {name: key for name, key in named.items() if name not in allowed} == {}


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
def test_the_changelog_begins_with_what_is_unreleased_or_with_the_version(package: Package) -> None:
    headings = re.findall(r"^## +\[?v?([^\]\s]+)", package.changelog.read_text(encoding="utf-8"), re.MULTILINE)
    released = headings[1:] if headings[:1] == ["Unreleased"] else headings
    assert released[:1] == [package.version]
    assert "Unreleased" not in released


@every_package
def test_the_text_of_the_licence_goes_with_the_package(package: Package) -> None:
    assert (package.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
