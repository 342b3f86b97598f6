"""What GitHub and pre-commit read: it parses, and every command, path, flag, job and action that it names exists."""

import fnmatch
import itertools
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import check_cuda_kernels
import dev
from environment import DEFAULT_FOLDERS, WORKSPACE_REQUIREMENTS, extra_requirements
from workspace import ROOT, WorkspaceError, read_packages, release_tag

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PACKAGES = read_packages()
# Programs of the runner itself; what stands in a line behind another first word must be in this repository.
SHELL = {"if", "else", "fi", "echo", "git", "gh", "apt-get", "!", "#"}
# Actions at the majors of November 2026; dependabot raises them in the workflows, this table says so aloud.
ACTIONS = {
    "actions/checkout": "v7",
    "actions/setup-python": "v7",
    "actions/upload-artifact": "v7",
    "actions/download-artifact": "v8",
    "pypa/gh-action-pypi-publish": "release/v1",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in WORKFLOWS:
        yield from ((path.name, name, job) for name, job in load(path)["jobs"].items())


def combinations(job: dict[str, Any]) -> list[dict[str, str]]:
    """List the values of a job's matrix, packages written out and `include` applied."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    extra = matrix.pop("include", [])
    axes = {key: values if isinstance(values, list) else list(PACKAGES) for key, values in matrix.items()}
    found = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for chosen, more in itertools.product(found, extra):
        if all(chosen[key] == value for key, value in more.items() if key in axes):
            chosen.update(more)
    return found


def shell_lines() -> list[tuple[str, str]]:
    """List each line that a workflow runs, with the values of its matrix in place."""
    lines = set()
    for file, name, job in jobs():
        for step, values in itertools.product(job["steps"], combinations(job)):
            lines |= {(f"{file} {name}", filled(line, values)) for line in step.get("run", "").splitlines()}
    return sorted(line for line in lines if line[1])


def filled(line: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda hit: values.get(hit[1], ""), line).strip()


@pytest.mark.parametrize("path", [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff"], ids=lambda p: p.name)
def test_it_parses(path: Path) -> None:
    assert isinstance(load(path), dict)


@pytest.mark.parametrize(("place", "line"), shell_lines())
def test_a_line_that_is_run_names_only_what_exists(place: str, line: str) -> None:
    first = line.split()[0]
    scripts = re.findall(r"python3? (tools/\w+\.py)((?: [^|;&)]+)?)", line)
    assert first in SHELL or scripts or os.access(ROOT / first, os.X_OK) or first.startswith("packages=$("), line
    for path in re.findall(r"(?<![\w./-])(?:tools|packages|tests|\.ci)/[\w./-]+", line):
        assert (ROOT / path).exists(), path
    for script, words in scripts:
        arguments = shlex.split(words)
        if script == "tools/dev.py":
            check_dev_arguments(arguments)
        else:
            assert script == "tools/check_cuda_kernels.py"
            check_cuda_kernels._make_parser().parse_args(arguments)


def check_dev_arguments(arguments: list[str]) -> None:
    args, rest = dev.make_parser().parse_known_args(arguments)
    assert args.command in dev.COMMANDS
    assert not rest or args.command in dev.PASSES_ARGUMENTS_ON
    names = [name for name in getattr(args, "packages", []) if "$" not in name]
    assert set(names) <= set(PACKAGES)
    for extra in getattr(args, "extras", []):
        extra_requirements(PACKAGES, names, extra)


@pytest.mark.parametrize(
    "wrong", ["tset", "test --packages mae-x", "lint --fast", "install --with interp", "wheels -q"]
)
def test_a_wrong_command_is_seen(wrong: str) -> None:
    with pytest.raises((AssertionError, SystemExit, WorkspaceError)):
        check_dev_arguments(shlex.split(wrong))


def test_the_lines_are_found() -> None:
    lines = [line for _, line in shell_lines()]
    assert ".ci/run" in lines
    assert "python3 tools/check_cuda_kernels.py --compile-only" in lines
    for name, paddle in itertools.product(PACKAGES, DEFAULT_FOLDERS):
        start = f"python tools/dev.py test --packages {name} --paddle {paddle} --venv .venv-package"
        assert (
            f"{start} --cov --cov-report=html".removesuffix(" --cov --cov-report=html" * (paddle != "3.3.1")) in lines
        )


def test_one_check_waits_for_every_job_of_a_change() -> None:
    ci = load(ROOT / ".github/workflows/ci.yml")["jobs"]
    nightly = {name for name, job in ci.items() if "schedule" in str(job.get("if"))}
    assert set(ci["required"]["needs"]) == ci.keys() - nightly - {"required"}
    assert ci["required"]["if"] == "always()"


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ("success success success", 0),
        ("success skipped success", 0),
        ("success failure skipped", 1),
        ("cancelled success success", 1),
    ],
)
def test_that_check_fails_with_any_of_them(results: str, code: int) -> None:
    (step,) = load(ROOT / ".github/workflows/ci.yml")["jobs"]["required"]["steps"]
    command = step["run"].replace("${{ join(needs.*.result, ' ') }}", results)
    assert "${{" not in command
    assert subprocess.run(["bash", "-e", "-c", command], capture_output=True).returncode == code


def test_every_job_that_is_needed_exists_and_ends() -> None:
    names = {(file, name) for file, name, _ in jobs()}
    for file, name, job in jobs():
        needs = job.get("needs", [])
        assert {(file, need) for need in ([needs] if isinstance(needs, str) else needs)} <= names
        assert job["timeout-minutes"] <= 60, name


def test_actions_are_at_one_known_major() -> None:
    used = {step["uses"] for _, _, job in jobs() for step in job["steps"] if "uses" in step}
    assert {action.partition("@")[0]: action.partition("@")[2] for action in used} == ACTIONS
    assert len(used) == len(ACTIONS)


def test_cached_files_exist() -> None:
    steps = [step for _, _, job in jobs() for step in job["steps"]]
    patterns = "\n".join(step.get("with", {}).get("cache-dependency-path", "") for step in steps).split()
    assert patterns
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []


def test_a_release_tag_starts_the_release_and_names_the_package() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    (pattern,) = load(ROOT / ".github/workflows/release.yml")[True]["push"]["tags"]  # YAML reads `on` as true
    (name_of,) = re.findall(r"--packages (\S+)", text)
    for name in PACKAGES:
        tag = release_tag(name, "0.2.0rc1")
        assert fnmatch.fnmatch(tag, pattern)
        printed = subprocess.check_output(["bash", "-c", f"echo {name_of}"], env={"GITHUB_REF_NAME": tag}, text=True)
        assert printed.strip() == name


def test_only_publishing_may_ask_for_an_identity() -> None:
    rights = {(file, name): job["permissions"] for file, name, job in jobs() if "permissions" in job}
    assert rights.pop(("release.yml", "publish")) == {"id-token": "write"}
    assert rights.pop(("release.yml", "page")) == {"contents": "write"}
    assert rights == {}
    assert all(load(path)["permissions"] == {"contents": "read"} for path in WORKFLOWS)


def test_pre_commit_runs_what_lint_runs() -> None:
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]
    assert {entry[0] for entry in entries} == {f"{DEFAULT_FOLDERS['3.3.1'].name}/bin/python"}
    checks = [tuple(word for word in entry[2:] if word != "--force-exclude") for entry in entries]
    lint = [check for check in checks if check[0] != "nbstripout"]  # which tests/test_notebooks.py runs
    assert lint == [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)] == dev.CHECKS
    assert set(checks) - set(lint) == {("nbstripout", "--keep-id")}
    assert {check[0] for check in checks} <= {re.match(r"\w+", line)[0] for line in WORKSPACE_REQUIREMENTS}
