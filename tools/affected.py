"""Which packages a change touches, so that only their tests have to run."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from workspace import ROOT, Graph, WorkspaceError, with_dependents

SHARED_TESTS = (
    "stage_runs",
    "stage_wiring",
    "until",
    "warm_commands",
    "warm_server",
)  # the packages' tests import them
SHARED_FILES = {"pyproject.toml", "conftest.py", *(f"tests/{name}.py" for name in SHARED_TESTS)}
SHARED_FOLDERS = ("tools/", ".ci/", ".github/")
# tests/ crosses packages and runs on every change, whatever is affected; people and GitHub alone read the rest.
NEUTRAL_FILES = {
    *("LICENSE", ".gitignore", ".dockerignore", ".pre-commit-config.yaml", "CITATION.cff"),
    ".github/dependabot.yml",
}
NEUTRAL_FOLDERS = ("tests/", ".github/ISSUE_TEMPLATE/")
PAGES = re.compile(r"(\.github/)?[^/]+\.md")


def affected(paths: Iterable[str], graph: Graph) -> list[str]:
    """List the packages that changed, with everything that depends on them.

    Args:
        paths: Changed files, relative to the root of the repository, with `/`.
        graph: For each package what it depends on; a package's folder is `packages/<its name>`.

    Raises:
        WorkspaceError: A path belongs nowhere. Nobody can say which tests guard it, so say it aloud.
    """
    touched: set[str] = set()
    for path in paths:
        touched |= _touched(path, graph)
    return with_dependents(touched, graph)


def _touched(path: str, graph: Graph) -> set[str]:
    """Give the packages that one changed file is part of."""
    top, _, rest = path.partition("/")
    package = rest.partition("/")[0]
    if top == "packages" and package in graph:
        return {package}
    if path in SHARED_FILES:
        return set(graph)
    if path in NEUTRAL_FILES or path.startswith(NEUTRAL_FOLDERS) or PAGES.fullmatch(path):
        return set()
    if path.startswith(SHARED_FOLDERS):
        return set(graph)
    raise WorkspaceError(f"{path}: no rule says which packages this file affects; add one to tools/affected.py")


def changed_paths(base: str, root: Path = ROOT) -> list[str]:
    """List the files that differ from where this branch left `base`, uncommitted and new ones included."""
    start = _git(root, "merge-base", base, "HEAD").strip()
    changed = _git(root, "diff", "--name-only", "--no-renames", "-z", start)
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return sorted({path for path in (changed + new).split("\0") if path})


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no common commit").splitlines()[-1]
        raise WorkspaceError(f"git {' '.join(arguments)} failed: {reason}; give a commit that exists with --base")
    return done.stdout
