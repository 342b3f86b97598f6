"""tools/: the package graph, what a change affects, and when an environment is out of date."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import environment
from affected import SHARED_FILES, affected, changed_paths
from environment import Environment, digest, editable_arguments, install, package_stamp, read_stamp
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
version = {{ attr = "{module}.__version__" }}
"""


@pytest.fixture
def make_package(tmp_path: Path):
    def make(name: str, *dependencies: str, extras: str = "") -> Package:
        folder, module = tmp_path / "packages" / name, name.replace("-", "_")
        (folder / "src" / module).mkdir(parents=True)
        (folder / "src" / module / "__init__.py").write_text('"""A package."""\n__version__ = "0.3.1"\n')
        listed = json.dumps(dependencies)
        text = PYPROJECT.format(name=name, dependencies=listed, extras=extras, module=module)
        (folder / "pyproject.toml").write_text(text)
        return Package(folder)

    return make


# --- the graph -----------------------------------------------------------------------------------


def test_graph_of_this_repository() -> None:
    graph = dependency_graph(read_packages())
    assert graph["mae-core"] == set()
    assert graph["mae-data"] == set()
    for stage in ("mae-pretrain", "mae-finetune", "mae-probe"):
        assert graph[stage] == {"mae-core", "mae-data"}
    assert all((ROOT / "packages" / name / "pyproject.toml").is_file() for name in graph)


def test_graph_is_read_from_the_dependencies(make_package, tmp_path: Path) -> None:
    make_package("mae-a", "numpy>=1", "Mae_B[cpu]>=0.1,<0.2; python_version > '3'", "mae.c")
    make_package("mae-b")
    make_package("mae-c", "mae-b ~= 0.3")
    packages = read_packages(tmp_path)
    assert dependency_graph(packages) == {"mae-a": {"mae-b", "mae-c"}, "mae-b": set(), "mae-c": {"mae-b"}}
    assert packages["mae-b"].version == "0.3.1"


def test_version_may_lie_in_another_module(make_package) -> None:
    package = make_package("mae-a")
    text = (package.folder / "pyproject.toml").read_text().replace("mae_a.__version__", "mae_a.version.NUMBER")
    (package.folder / "pyproject.toml").write_text(text)
    (package.folder / "src/mae_a/version.py").write_text("OTHER = '1'\nNUMBER = '2.0'\n")
    assert Package(package.folder).version == "2.0"
    (package.folder / "src/mae_a/version.py").write_text("OTHER = '1'\n")
    with pytest.raises(WorkspaceError, match=r"version.py assigns no NUMBER"):
        _ = Package(package.folder).version


def test_a_broken_pyproject_is_named(make_package) -> None:
    package = make_package("mae-a")
    (package.folder / "pyproject.toml").write_text("[project\n")
    with pytest.raises(WorkspaceError, match=r"mae-a/pyproject.toml: .* \(at line 1, column 9\)"):
        _ = Package(package.folder).name


@pytest.mark.parametrize("text", ["mae-core", "Mae_Core[cpu]>=0.1", " mae.core @ file:///x", "mae__core;a"])
def test_distribution_name(text: str) -> None:
    assert distribution_name(text) == "mae-core"


def test_dependencies_come_first_and_once() -> None:
    assert with_dependencies(["mae-demo"], GRAPH) == ["mae-core", "mae-data", "mae-pretrain", "mae-demo"]
    assert with_dependencies(["mae-data"], GRAPH) == ["mae-data"]
    assert with_dependencies(GRAPH, GRAPH) == ["mae-core", "mae-data", "mae-pretrain", "mae-demo"]


def test_dependents_are_transitive() -> None:
    assert with_dependents(["mae-data"], GRAPH) == ["mae-data", "mae-demo", "mae-pretrain"]
    assert with_dependents(["mae-demo"], GRAPH) == ["mae-demo"]
    assert with_dependents([], GRAPH) == []


def test_unknown_name_and_circle_are_named() -> None:
    with pytest.raises(WorkspaceError, match="no package 'mae-x'; there are mae-core, mae-data"):
        with_dependencies(["mae-x"], GRAPH)
    with pytest.raises(WorkspaceError, match="a -> b -> a"):
        with_dependencies(["a"], {"a": {"b"}, "b": {"a"}})


# --- what a change affects -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        (["README.md", "LICENSE", ".gitignore", ".pre-commit-config.yaml", "CITATION.cff"], []),
        ([".github/CONTRIBUTING.md", ".github/SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md"], []),
        ([".github/dependabot.yml", ".github/ISSUE_TEMPLATE/fault.yml"], []),
        (["packages/mae-demo/docs/guide.md"], ["mae-demo"]),
        (["tests/test_wheels.py"], []),
        (["packages/mae-demo/src/mae_demo/cli.py"], ["mae-demo"]),
        (["packages/mae-core/README.md"], ["mae-core", "mae-demo", "mae-pretrain"]),
        (["packages/mae-data/x.py", "README.md"], ["mae-data", "mae-demo", "mae-pretrain"]),
        (["packages/mae-data/x.py", "packages/mae-core/x.py"], sorted(GRAPH)),
        (["pyproject.toml"], sorted(GRAPH)),
        (["conftest.py"], sorted(GRAPH)),
        (["tests/stage_runs.py"], sorted(GRAPH)),  # the stages' own tests import it
        (["tests/stage_wiring.py"], sorted(GRAPH)),
        (["tools/dev.py"], sorted(GRAPH)),
        (["tools/README.md"], sorted(GRAPH)),
        ([".ci/run"], sorted(GRAPH)),
        ([".github/workflows/release.yml"], sorted(GRAPH)),
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
    assert {"tests/stage_runs.py", "tests/stage_wiring.py"} <= helpers <= SHARED_FILES


@pytest.mark.parametrize(
    "path",
    ["setup.cfg", "docs/index.md", "packages/mae-new/x.py", "packages/README.md", "mae-core/x.py", "tools"],
)
def test_a_path_without_a_rule_fails(path: str) -> None:
    with pytest.raises(WorkspaceError, match="no rule says which packages") as error:
        affected(["packages/mae-core/x.py", path], GRAPH)
    assert str(error.value).startswith(f"{path}: ")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("kept.txt", "edited.txt", "old name.txt"):
        (folder / name).write_text(f"{name}\n" * 20)
    (folder / ".gitignore").write_text("ignored.txt\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    git(folder, *identity, "commit", "-q", "--no-verify", "-m", "message")


def test_changed_paths_cover_commits_edits_renames_and_new_files(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "branch")
    git(repository, "mv", "old name.txt", "näw.txt")
    commit(repository)
    git(repository, "checkout", "-q", "main")
    (repository / "on-main.txt").write_text("not a change of the branch\n")
    git(repository, "add", ".")
    commit(repository)
    git(repository, "checkout", "-q", "branch")
    (repository / "edited.txt").write_text("edited\n")
    (repository / "new.txt").write_text("new\n")
    (repository / "ignored.txt").write_text("ignored\n")
    assert changed_paths("main", repository) == ["edited.txt", "new.txt", "näw.txt", "old name.txt"]


def test_an_unknown_base_is_named(repository: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"Not a valid object name nowhere; give a commit .* --base"):
        changed_paths("nowhere", repository)


# --- stamps --------------------------------------------------------------------------------------


def test_package_stamp_changes_with_what_a_build_depends_on(make_package) -> None:
    package = make_package("mae-a")
    stamps = [package_stamp(package, ["3.11.7", "3.3.1"]), package_stamp(package, ["3.11.7", "2.6.2"])]
    (package.folder / "setup.py").write_text("setup()\n")
    stamps.append(package_stamp(package, ["3.11.7", "3.3.1"]))
    (package.folder / "csrc").mkdir()
    (package.folder / "csrc" / "op.cc").write_text("int x;\n")
    stamps.append(package_stamp(package, ["3.11.7", "3.3.1"]))
    (package.folder / "csrc" / "op.cc").write_text("int y;\n")
    stamps.append(package_stamp(package, ["3.11.7", "3.3.1"]))
    (package.folder / "src/mae_a/__init__.py").write_text("__version__ = '0.4.0'\n")
    stamps.append(package_stamp(package, ["3.11.7", "3.3.1"]))
    assert len(set(stamps)) == len(stamps)


def test_package_stamp_ignores_python_sources(make_package) -> None:
    package = make_package("mae-a")
    before = package_stamp(package, ["3.11.7"])
    (package.folder / "src/mae_a/model.py").write_text("x = 1\n")
    assert package_stamp(package, ["3.11.7"]) == before


def test_digest_keeps_parts_apart() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["a", "b"]) == digest(iter(["a", "b"]))


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"'])
def test_a_damaged_stamp_counts_as_empty(content: str, tmp_path: Path) -> None:
    path = tmp_path / "dev-stamp.json"
    assert read_stamp(path) == {}
    path.write_text(content)
    assert read_stamp(path) == {}


def test_a_test_extra_is_installed_where_declared(make_package) -> None:
    plain, tested = make_package("mae-a"), make_package("mae-b", extras="test = ['scikit-learn']")
    assert editable_arguments([plain, tested]) == [
        *("--editable", str(plain.folder)),
        *("--editable", f"{tested.folder}[test]"),
    ]


class Pip:
    """Records calls instead of installing; can be made to fail at one."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fail_at = 0

    def __call__(self, env: Environment, arguments: list[str]) -> None:
        self.calls.append([part for part in arguments if "mae-" in part or part == "wheel" or part == "mypy"])
        if len(self.calls) == self.fail_at:
            raise WorkspaceError("no network")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    recorder = Pip()
    for name in ("pip_install", "run_pip"):
        monkeypatch.setattr(environment, name, recorder)
    monkeypatch.setattr(environment, "_ensure_venv", lambda env: "3.11.7")
    monkeypatch.setattr(environment, "WORKSPACE_REQUIREMENTS", ("mypy",))
    return recorder


@pytest.fixture
def three(make_package) -> dict[str, Package]:
    packages = [make_package("mae-c", "mae-b"), make_package("mae-b"), make_package("mae-a")]
    return {package.name: package for package in packages}


def folders(*packages: Package) -> list[str]:
    return [str(package.folder) for package in packages]


def test_install_is_two_calls_then_none(pip: Pip, three: dict[str, Package], tmp_path: Path) -> None:
    env = Environment(tmp_path)
    install(env, three)
    assert pip.calls == [["wheel", "mypy"], folders(three["mae-a"], three["mae-b"], three["mae-c"])]
    install(env, three)
    assert len(pip.calls) == 2


def test_install_repeats_only_what_changed(pip: Pip, three: dict[str, Package], tmp_path: Path) -> None:
    env = Environment(tmp_path)
    install(env, three)
    pip.calls.clear()
    (three["mae-b"].folder / "setup.py").write_text("setup()\n")
    install(env, three)
    assert pip.calls == [folders(three["mae-b"])]


def test_install_of_one_package_leaves_out_the_rest(pip: Pip, three: dict[str, Package], tmp_path: Path) -> None:
    install(Environment(tmp_path), three, ["mae-c"])
    assert pip.calls == [["wheel"], folders(three["mae-b"], three["mae-c"])]


def test_a_failed_install_is_done_again(pip: Pip, three: dict[str, Package], tmp_path: Path) -> None:
    env = Environment(tmp_path)
    pip.fail_at = 2
    with pytest.raises(WorkspaceError, match="no network"):
        install(env, three)
    install(env, three)
    assert pip.calls[2:] == [pip.calls[1]]


def test_an_extra_is_installed_where_declared_and_stays(pip: Pip, make_package, tmp_path: Path) -> None:
    declaring = make_package("mae-a", extras="interop = ['mae-torch==1']\nonnx = ['mae-onnx']")
    packages = {"mae-a": declaring, "mae-b": make_package("mae-b", extras="interop = ['mae-hf>=5']")}
    env = Environment(tmp_path)
    install(env, packages)
    pip.calls.clear()
    install(env, packages, extras=["interop", "onnx"])
    assert pip.calls == [["mae-torch==1", "mae-hf>=5"], ["mae-onnx"]]
    for extras in ([], ["onnx"], ["onnx", "interop"]):
        install(env, packages, extras=extras)
    assert len(pip.calls) == 2
    install(Environment(tmp_path, "2.6.2"), packages, extras=["onnx"])
    assert pip.calls[2:] == [["wheel", "mypy"], folders(*packages.values()), ["mae-onnx"]]


def test_an_extra_of_other_packages_is_left_out(pip: Pip, make_package, tmp_path: Path) -> None:
    packages = {"mae-a": make_package("mae-a", extras="interop = ['mae-torch']"), "mae-b": make_package("mae-b")}
    install(Environment(tmp_path), packages, ["mae-b"], ["interop"])
    assert pip.calls == [["wheel"], folders(packages["mae-b"])]
    with pytest.raises(WorkspaceError, match="no package declares the extra 'onxx'; there are gpu, interop"):
        install(Environment(tmp_path), packages, extras=["onxx"])


def test_another_paddle_installs_everything_again(pip: Pip, three: dict[str, Package], tmp_path: Path) -> None:
    install(Environment(tmp_path, "3.3.1"), three)
    pip.calls.clear()
    install(Environment(tmp_path, "2.6.2"), three)
    assert len(pip.calls) == 2
    assert pip.calls[1] == folders(three["mae-a"], three["mae-b"], three["mae-c"])


# --- the command line ----------------------------------------------------------------------------


def dev(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/dev.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_no_command_prints_help() -> None:
    done = dev()
    assert done.returncode == 0
    for command in ("install", "test", "lint", "demo", "bench", "zoo", "affected", "wheels", "release"):
        assert f"\n    {command} " in done.stdout


def test_affected_works_from_another_folder(tmp_path: Path) -> None:
    done = dev("affected", "--all", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == '["mae-core", "mae-data", "mae-finetune", "mae-pretrain", "mae-probe"]\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wheels", "--packages", "mae-x"], "tools/dev.py wheels: no package 'mae-x'; there are mae-core"),
        (
            ["wheels", "--tag", "mae-core-v99.0.0"],
            "mae-core-v99.0.0 is not the tag of a package at its present version",
        ),
        (["wheels", "--tag", "mae-core-v0.1.0", "--packages", "mae-core"], "not allowed with argument"),
        (["affected", "--base", "no-such-ref"], "give a commit that exists with --base"),
        (["affected", "--ba", "x"], "affected does not know --ba x"),
        (["bench", "no-such-benchmark"], "no benchmark has no-such-benchmark in its path"),
        (["test", "--paddle", "all", "--venv", "x"], "--paddle all needs one environment a version"),
        (["install", "--with", "interp"], "tools/dev.py install: no package declares the extra 'interp'; there are"),
        (["test", "--paddle", "1.0"], "invalid choice: '1.0'"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    done = dev(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
