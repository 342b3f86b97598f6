"""tools/: the package graph, what a change affects, and when an environment is out of date."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import dev
import environment
from affected import SHARED_FILES, affected, changed_paths
from environment import Environment, install, package_stamp, read_stamp
from workspace import (
    ROOT,
    Package,
    WorkspaceError,
    dependency_graph,
    distribution_name,
    read_packages,
    with_dependencies,
    with_dependents,
)

pytestmark = pytest.mark.once

GRAPH = {
    "mae-core": set(),
    "mae-data": set(),
    "mae-pretrain": {"mae-core", "mae-data"},
    "mae-demo": {"mae-pretrain"},
}
PYPROJECT = """\
[project]
name = "{name}"
dependencies = {dependencies}
[project.optional-dependencies]
gpu = ["mae-b[gpu]"]
{extras}
[tool.setuptools.dynamic]
version = {{ attr = "{module}.version.NUMBER" }}
"""


@pytest.fixture
def make_package(tmp_path: Path):
    def make(name: str, *dependencies: str, extras: str = "") -> Package:
        folder, module = tmp_path / "packages" / name, name.replace("-", "_")
        (folder / "src" / module).mkdir(parents=True)
        (folder / "src" / module / "version.py").write_text("OTHER = '1'\nNUMBER = '0.3.1'\n")
        text = PYPROJECT.format(name=name, dependencies=json.dumps(dependencies), extras=extras, module=module)
        (folder / "pyproject.toml").write_text(text)
        return Package(folder)

    return make


# --- the graph -----------------------------------------------------------------------------------


def test_the_graph_is_read_from_the_dependencies(make_package, tmp_path: Path) -> None:
    make_package("mae-a", "numpy>=1", "Mae_B[cpu]>=0.1,<0.2; python_version > '3'", "mae.c")
    make_package("mae-b")
    make_package("mae-c", "mae-b ~= 0.3")
    packages = read_packages(tmp_path)
    assert dependency_graph(packages) == {"mae-a": {"mae-b", "mae-c"}, "mae-b": set(), "mae-c": {"mae-b"}}
    assert packages["mae-b"].version == "0.3.1"
    assert {distribution_name(text) for text in (" mae.core @ file:///x", "mae__core;a")} == {"mae-core"}


def test_a_broken_pyproject_and_a_missing_version_are_named(make_package) -> None:
    package = make_package("mae-a")
    (package.folder / "src/mae_a/version.py").write_text("OTHER = '1'\n")
    with pytest.raises(WorkspaceError, match=r"version.py assigns no NUMBER"):
        _ = Package(package.folder).version
    (package.folder / "pyproject.toml").write_text("[project\n")
    with pytest.raises(WorkspaceError, match=r"mae-a/pyproject.toml: .* \(at line 1, column 9\)"):
        _ = Package(package.folder).name


def test_dependencies_come_first_and_once_and_dependents_are_transitive() -> None:
    assert with_dependencies(["mae-demo"], GRAPH) == ["mae-core", "mae-data", "mae-pretrain", "mae-demo"]
    assert with_dependencies(["mae-data"], GRAPH) == ["mae-data"]
    assert with_dependents(["mae-data"], GRAPH) == ["mae-data", "mae-demo", "mae-pretrain"]
    assert with_dependents([], GRAPH) == []
    with pytest.raises(WorkspaceError, match="a -> b -> a"):
        with_dependencies(["a"], {"a": {"b"}, "b": {"a"}})


# --- what a change affects -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["README.md", "LICENSE", ".dockerignore", ".github/SECURITY.md", "tests/test_wheels.py"], []),
        (["packages/mae-demo/docs/guide.md"], ["mae-demo"]),
        (["packages/mae-data/x.py", "README.md"], ["mae-data", "mae-demo", "mae-pretrain"]),
        (["packages/mae-data/x.py", "packages/mae-core/x.py"], sorted(GRAPH)),
        *(([path], sorted(GRAPH)) for path in ("conftest.py", "tests/stage_runs.py", "tools/dev.py", ".ci/run")),
        ([".github/workflows/ci.yml", "packages/mae-demo/x.py"], sorted(GRAPH)),
    ],
)
def test_affected(paths: list[str], expected: list[str]) -> None:
    assert affected(paths, GRAPH) == expected


def test_every_file_of_this_repository_has_a_rule() -> None:
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    paths = [path for path in subprocess.run(listed, capture_output=True, text=True).stdout.split("\0") if path]
    assert len(paths) > 100
    assert affected(paths, dependency_graph(read_packages())) == sorted(read_packages())


def test_every_helper_that_a_packages_tests_import_affects_the_packages() -> None:
    text = "\n".join(file.read_text() for file in ROOT.glob("packages/*/tests/**/*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    helpers = {f"tests/{file.name}" for file in ROOT.glob("tests/*.py") if file.stem in imported}
    assert "tests/stage_runs.py" in helpers <= SHARED_FILES


@pytest.mark.parametrize("path", ["setup.cfg", "docs/index.md", "packages/mae-new/x.py", "mae-core/x.py", "tools"])
def test_a_path_without_a_rule_fails(path: str) -> None:
    with pytest.raises(WorkspaceError, match=f"^{path}: no rule says which packages"):
        affected(["packages/mae-core/x.py", path], GRAPH)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_changed_paths_cover_commits_edits_renames_and_new_files(tmp_path: Path) -> None:
    for name in ("kept.txt", "edited.txt", "old name.txt"):
        (tmp_path / name).write_text(f"{name}\n" * 20)
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "message")
    git(tmp_path, "checkout", "-q", "-b", "branch")
    git(tmp_path, "mv", "old name.txt", "näw.txt")
    git(tmp_path, "commit", "-q", "-m", "message")
    git(tmp_path, "checkout", "-q", "main")
    (tmp_path / "on-main.txt").write_text("not a change of the branch\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "message")
    git(tmp_path, "checkout", "-q", "branch")
    for name in ("edited", "new", "ignored"):
        (tmp_path / f"{name}.txt").write_text(name)
    assert changed_paths("main", tmp_path) == ["edited.txt", "new.txt", "näw.txt", "old name.txt"]


# --- environments --------------------------------------------------------------------------------


def test_a_stamp_changes_with_what_a_build_depends_on_and_not_with_python_sources(make_package, tmp_path) -> None:
    package = make_package("mae-a")
    stamps = [package_stamp(package, ["3.11.7", paddle]) for paddle in ("3.3.1", "2.6.2")]
    for file, text in (
        ("setup.py", "setup()\n"),
        ("csrc/op.cc", "int x;\n"),
        ("csrc/op.cc", "int y;\n"),
        ("src/mae_a/version.py", "NUMBER = '0.4.0'\n"),
    ):
        (package.folder / file).parent.mkdir(exist_ok=True)
        (package.folder / file).write_text(text)
        stamps.append(package_stamp(package, ["3.11.7", "3.3.1"]))
    assert len(set(stamps)) == len(stamps)
    (package.folder / "src/mae_a/model.py").write_text("x = 1\n")
    assert package_stamp(package, ["3.11.7", "3.3.1"]) == stamps[-1]
    for damaged in ("", "{", "[1]"):
        (tmp_path / "dev-stamp.json").write_text(damaged)
        assert read_stamp(tmp_path / "dev-stamp.json") == {}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be installed, by call of pip."""
    made: list[list[str]] = []

    def pip(env: Environment, arguments: list[str]) -> None:
        made.append([part for part in arguments if "mae-" in part or part in ("wheel", "mypy")])

    for name in ("pip_install", "run_pip"):
        monkeypatch.setattr(environment, name, pip)
    monkeypatch.setattr(environment, "_ensure_venv", lambda env: "3.11.7")
    monkeypatch.setattr(environment, "WORKSPACE_REQUIREMENTS", ("mypy",))
    return made


def test_an_install_does_what_is_out_of_date_and_no_more(calls, make_package, tmp_path: Path, monkeypatch) -> None:
    made = [make_package("mae-c", "mae-b"), make_package("mae-b"), make_package("mae-a", extras="test = ['x']")]
    packages = {package.name: package for package in made}
    c, b, a = (str(package.folder) for package in made)
    env = Environment(tmp_path / "env")
    env.folder.mkdir()
    install(env, packages)
    install(env, packages)
    assert calls == [["wheel", "mypy"], [f"{a}[test]", b, c]]
    (packages["mae-b"].folder / "setup.py").write_text("setup()\n")
    install(env, packages)
    assert calls[2:] == [[b]]
    install(Environment(env.folder, "2.6.2"), packages)
    assert calls[3:] == [["wheel", "mypy"], [f"{a}[test]", b, c]]
    install(Environment(tmp_path), packages, ["mae-c"])  # in an environment of its own: what it needs, and no tools
    assert calls[5:] == [["wheel"], [b, c]]
    (packages["mae-b"].folder / "setup.py").write_text("setup(1)\n")
    recording = environment.pip_install
    monkeypatch.setattr(environment, "pip_install", lambda *words: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        install(Environment(tmp_path), packages, ["mae-c"])
    monkeypatch.setattr(environment, "pip_install", recording)
    install(Environment(tmp_path), packages, ["mae-c"])  # what failed is done again
    assert calls[7:] == [[b]]


def test_an_extra_is_installed_where_declared_and_stays(calls, make_package, tmp_path: Path) -> None:
    declaring = make_package("mae-a", extras="interop = ['mae-torch==1']\nonnx = ['mae-onnx']")
    packages = {"mae-a": declaring, "mae-b": make_package("mae-b", extras="interop = ['mae-hf>=5']")}
    install(Environment(tmp_path), packages)
    for extras in (["interop", "onnx"], [], ["onnx"]):
        install(Environment(tmp_path), packages, extras=extras)
    assert calls[2:] == [["mae-torch==1", "mae-hf>=5"], ["mae-onnx"]]
    install(Environment(tmp_path, "2.6.2"), packages, ["mae-b"], ["onnx"])  # declared elsewhere: nothing to do
    assert calls[4:] == [["wheel"], [str(packages["mae-b"].folder)]]


# --- the command line ----------------------------------------------------------------------------


def test_affected_prints_one_json_list(capsys) -> None:
    assert dev.main(["affected", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == sorted(read_packages())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("wheels --packages mae-x", "no package 'mae-x'; there are mae-core"),
        ("wheels --tag mae-core-v99.0.0", "mae-core-v99.0.0 is not the tag of a package at its present version"),
        ("affected --base no-such-ref", "give a commit that exists with --base"),
        ("affected --ba x", "affected does not know --ba x"),
        ("bench no-such-benchmark", "no benchmark has no-such-benchmark in its path"),
        ("test --paddle all --venv x", "--paddle all needs one environment a version"),
        ("install --with interp", "no package declares the extra 'interp'; there are"),
        ("try /nowhere", "/nowhere holds no package at its present version"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(words: str, message: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr(dev, "installed", dev.environment)
    try:
        code = dev.main(words.split())
    except SystemExit as left:  # what argparse refuses
        code = left.code
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
