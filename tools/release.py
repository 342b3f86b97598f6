#!/usr/bin/env python3
"""Release one package: its version, its changelog, a commit, a tag, a source distribution and a wheel.

Shows what it would do; `--yes` does it. Nothing is pushed: the tag does the rest once it is (release.yml).
Run it as `tools/dev.py release`, which brings the environment that it needs.
"""

import argparse
import datetime
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from wheels import build_distributions
from workspace import (
    ROOT,
    CommandError,
    Package,
    WorkspaceError,
    dependency_graph,
    read_packages,
    release_tag,
    with_dependencies,
)

UNRELEASED = re.compile(r"^## Unreleased[ \t]*\n(?P<lines>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Release:
    """One package on its way to a new version."""

    package: Package
    version: str
    date: str

    @property
    def tag(self) -> str:
        return release_tag(self.package.name, self.version)

    def new_texts(self) -> dict[Path, str]:
        """Give the files that change, with their new content."""
        file, name = self.package.version_source
        text, changelog = file.read_text(encoding="utf-8"), self.package.changelog
        old = f'{name} = "{self.package.version}"'
        if text.count(old) != 1:
            raise WorkspaceError(f"{file} does not hold {old} exactly once; write the version so")
        history = with_release(changelog.read_text(encoding="utf-8"), self.version, self.date)
        return {file: text.replace(old, f'{name} = "{self.version}"'), changelog: history}


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Show or make a release and return the exit code."""
    args = make_parser().parse_args(argv)
    packages = read_packages(root)
    try:
        with_dependencies([args.package], dependency_graph(packages))  # refuses an unknown name
        release = Release(packages[args.package], args.version, datetime.date.today().isoformat())
        check(release, packages, root)
        texts = release.new_texts()
        print_plan(release, texts, packages, root)
        if args.yes:
            make(release, texts, root, args.dist)
            print(f"done; publish it with: git push origin HEAD {release.tag}")
        else:
            print("nothing was changed; --yes does this")
    except WorkspaceError as error:
        print(f"tools/dev.py release: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = argparse.ArgumentParser(prog="tools/dev.py release", description=__doc__, allow_abbrev=False)
    parser.add_argument("package", metavar="PACKAGE", help="such as mae-core")
    parser.add_argument(
        "version", metavar="VERSION", help="above the present one, such as 0.2.0rc1; or, for the first, that one"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without this nothing is written")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the files go (default: dist/)")
    return parser


def check(release: Release, packages: Mapping[str, Package], root: Path) -> None:
    """Refuse a release that would be wrong.

    Raises:
        WorkspaceError: The version, the state of the repository or a sibling's range does not allow it.
    """
    first = not git(root, "tag", "--list", release_tag(release.package.name, "*"))
    check_version(release.version, release.package, first)
    if changed := [line[2:].strip() for line in git(root, "status", "--porcelain").splitlines()]:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise WorkspaceError(f"not committed: {', '.join(changed[:3])}{more}; commit or stash first")
    if git(root, "tag", "--list", release.tag):
        raise WorkspaceError(f"the tag {release.tag} exists; take the next version")
    if narrow := excluding(release, packages):
        raise WorkspaceError(
            f"{release.package.name} {release.version} is outside what its siblings declare: "
            f"{', '.join(narrow)}; widen their pyproject.toml to admit both versions, commit, then release"
        )


def check_version(wanted: str, package: Package, first: bool) -> None:
    """Refuse a version that is written otherwise than an index writes it, or that does not increase.

    Args:
        wanted: The version as it was typed.
        package: What is released.
        first: No version was released yet: then the present one may be it.
    """
    try:
        version = Version(wanted)
    except InvalidVersion:
        raise WorkspaceError(f"{wanted!r} is not a version; write three numbers, such as 0.2.0 or 0.2.0rc1") from None
    if len(version.release) != 3 or version.local or str(version) != wanted:
        raise WorkspaceError(f"the version {wanted!r} is not written in full; write it as 0.2.0 or 0.2.0rc1")
    if version < Version(package.version) or (version == Version(package.version) and not first):
        raise WorkspaceError(f"{package.name} is at {package.version}; {wanted} does not increase it")


def excluding(release: Release, packages: Mapping[str, Package]) -> list[str]:
    """List the siblings whose declared range does not admit the new version, each with that range."""
    found = {}
    for name, package in packages.items():
        for line in (*package.requirements, *(line for lines in package.extras.values() for line in lines)):
            need = Requirement(line)
            if need.name == release.package.name and not need.specifier.contains(release.version, prereleases=True):
                found[name] = f"{name} ({need.specifier})"
    return list(found.values())


def print_plan(release: Release, texts: Mapping[Path, str], packages: Mapping[str, Package], root: Path) -> None:
    """Say what is done, in order, and what else to think of."""
    package = release.package
    news = textwrap.indent(release_notes(package.changelog.read_text(encoding="utf-8"), release.version), "     ")
    print(
        f"{package.name} {package.version} -> {release.version}, on {git(root, 'branch', '--show-current') or 'HEAD'}"
    )
    print("  1. write " + ", ".join(str(path.relative_to(root)) for path in texts))
    print(f"     this moves under {release.version} ({release.date}):\n{news}")
    print("  2. build the source distribution and, from it, the wheel")
    print(f"  3. commit, and tag {release.tag}")
    for name in sorted(dependency_graph(packages)[package.name]):
        if unreleased(packages[name].changelog.read_text(encoding="utf-8")):
            print(f"note: {name} has unreleased changes; release it first if {package.name} needs them")


def make(release: Release, texts: Mapping[Path, str], root: Path, dist: Path) -> None:
    """Write, build, commit and tag; a step that fails takes back what was written."""
    notes = release_notes(release.package.changelog.read_text(encoding="utf-8"), release.version)
    paths = [str(path) for path in texts]
    start = git(root, "rev-parse", "HEAD")
    try:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        for file in build_distributions(Path(sys.executable), [release.package], dist.resolve()):
            print(file)
        title = f"Release {release.package.name} {release.version}"
        git(root, "commit", "--quiet", "-m", title, "--", *paths)
        # The notes of the release are the text of the tag; a line that begins with # is kept.
        git(root, "tag", "--annotate", "--cleanup=whitespace", "-m", f"{title}\n\n{notes}", release.tag)
    except BaseException:
        git(root, "reset", "--quiet", "--soft", start)
        git(root, "restore", "--staged", "--worktree", "--", *paths)
        raise


def git(root: Path, *arguments: str) -> str:
    """Run git in the repository and return what it printed."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"git {arguments[0]} failed: {(done.stderr.strip() or done.stdout.strip())[-500:]}")
    return done.stdout.strip()


def unreleased(text: str) -> str:
    """Return the lines under `## Unreleased`; empty where there are none or the heading is missing."""
    found = UNRELEASED.search(text)
    return found["lines"].strip() if found else ""


def release_notes(text: str, version: str) -> str:
    """Return the notes of that version: an undated section `## VERSION`, if any, and what is unreleased."""
    begun = _undated(version).search(text)
    return "\n\n".join(part for part in (begun[1].strip() if begun else "", unreleased(text)) if part)


def with_release(text: str, version: str, date: str) -> str:
    """Move the notes of a release under a heading of version and date; an empty `## Unreleased` stays above it.

    A section of that version without a date was written before any release: it becomes part of this one.

    Raises:
        WorkspaceError: Nothing is unreleased.
    """
    lines = release_notes(text, version)
    if not lines or not UNRELEASED.search(text):
        raise WorkspaceError("nothing stands under '## Unreleased' in the changelog; write there what changed")
    section = f"## Unreleased\n\n## {version} ({date})\n\n{lines}\n\n"
    rest = _undated(version).sub("", text, count=1)
    return UNRELEASED.sub(lambda found: section, rest, count=1).rstrip("\n") + "\n"


def _undated(version: str) -> re.Pattern[str]:
    return re.compile(rf"^## {re.escape(version)}[ \t]*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
