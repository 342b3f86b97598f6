"""tools/release.py on a clone: what it shows, what it refuses, what it leaves behind."""

import datetime
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import release
from release import unreleased, with_release
from workspace import ROOT, WorkspaceError, read_packages, tagged_package

pytestmark = pytest.mark.once

HISTORY = "# Changelog of mae-x\n\n## Unreleased\n\n- New.\n  More of it.\n\n## 0.1.0\n\nFirst release.\n"
TODAY = datetime.date.today().isoformat()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which every package is at 0.1.0 with siblings' ranges `<0.2`, and only mae-data has news."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-tags", str(ROOT), str(folder)], check=True, capture_output=True)
    for key, value in (("user.name", "A"), ("user.email", "a@example.org"), ("commit.gpgsign", "false")):
        git(folder, "config", key, value)
    for name, package in read_packages(folder).items():
        file, variable = package.version_source
        file.write_text(file.read_text().replace(f'{variable} = "{package.version}"', f'{variable} = "0.1.0"'))
        text = re.sub(
            r"(mae-(?:core|data)(?:\[\w+\])?)>=[\d.]+,<[\d.]+", r"\1>=0.1,<0.2", pyproject(package).read_text()
        )
        pyproject(package).write_text(text)
        news = "- Faster.\n# 1 of 2\n" if name == "mae-data" else ""
        first = "## 0.1.0 (2026-01-31)\n\nFirst release.\n"
        package.changelog.write_text(f"# Changelog of {name}\n\n## Unreleased\n\n{news}\n{first}")
        git(folder, "tag", f"{name}-v0.1.0")
    commit_all(folder)
    return folder


def pyproject(package) -> Path:
    return package.folder / "pyproject.toml"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit_all(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "--no-verify", "--allow-empty", "-m", "state")


def everything(folder: Path) -> tuple[str, str, str]:
    return git(folder, "rev-parse", "HEAD"), git(folder, "tag"), git(folder, "status", "--porcelain")


def test_unreleased_lines_move_under_the_version_and_join_what_was_begun() -> None:
    moved = with_release(HISTORY, "0.2.0", "2026-01-31")
    assert moved == HISTORY.replace("## Unreleased\n", "## Unreleased\n\n## 0.2.0 (2026-01-31)\n")
    assert unreleased(moved) == ""
    first = with_release(HISTORY, "0.1.0", "2026-01-31")
    assert first.endswith("## Unreleased\n\n## 0.1.0 (2026-01-31)\n\nFirst release.\n\n- New.\n  More of it.\n")
    for nothing in (moved, "# Changelog\n", ""):
        with pytest.raises(WorkspaceError, match="nothing stands under '## Unreleased'"):
            with_release(nothing, "0.2.0", "2026-01-31")


def test_the_plan_is_shown_and_nothing_changes(clone: Path, tmp_path: Path, capsys) -> None:
    before = everything(clone)
    assert release.main(["mae-data", "0.1.1", "--dist", str(tmp_path / "dist")], clone) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("mae-data 0.1.0 -> 0.1.1, on ")
    assert f"0.1.1 ({TODAY}):\n     - Faster." in shown
    assert everything(clone) == before
    assert not (tmp_path / "dist").exists()


def test_every_package_of_this_repository_has_a_first_version(clone: Path, capsys) -> None:
    """As it lies here, without a tag: the version that it has."""
    git(clone, "checkout", "-q", "HEAD^")
    git(clone, "tag", "--delete", *git(clone, "tag").split())
    for name, package in read_packages(clone).items():
        assert release.main([name, package.version], clone) == 0
        shown = capsys.readouterr().out
        assert f"tag {name}-v{package.version}" in shown
        assert "First release." in shown


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.1.0", "0.1.1"])
def test_a_release_is_a_commit_a_tag_and_two_files(version: str, clone: Path, tmp_path: Path, capsys) -> None:
    history = read_packages(clone)["mae-data"].changelog
    if version == "0.1.0":
        git(clone, "tag", "--delete", "mae-data-v0.1.0")
        history.write_text(history.read_text().replace("## 0.1.0 (2026-01-31)", "## 0.1.0"))
        commit_all(clone)
    assert release.main(["mae-data", version, "--yes", "--dist", str(tmp_path / "dist")], clone) == 0
    tag = f"mae-data-v{version}"
    assert capsys.readouterr().out.endswith(f"done; publish it with: git push origin HEAD {tag}\n")
    assert read_packages(clone)["mae-data"].version == version
    assert history.read_text().count(f"## {version}") == 1
    assert f"## Unreleased\n\n## {version} ({TODAY})\n\n" in history.read_text()
    assert git(clone, "show", "--name-only", "--format=%s", "HEAD").split("\n")[0] == f"Release mae-data {version}"
    assert git(clone, "rev-parse", f"{tag}^{{commit}}") == git(clone, "rev-parse", "HEAD")
    notes = git(clone, "tag", "--list", tag, "--format=%(contents)")
    assert notes.startswith(f"Release mae-data {version}\n\n")
    assert notes.endswith("- Faster.\n# 1 of 2")
    assert git(clone, "status", "--porcelain") == ""
    assert tagged_package(tag, read_packages(clone)).name == "mae-data"
    wheel, source = sorted((tmp_path / "dist").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert f'__version__ = "{version}"'.encode() in zipfile.ZipFile(wheel).read("mae_data/__init__.py")
    assert f"mae_data-{version}.dist-info/licenses/LICENSE" in zipfile.ZipFile(wheel).namelist()
    with tarfile.open(source) as archive:
        assert f"mae_data-{version}/src/mae_data/__init__.py" in archive.getnames()


def test_a_wrong_release_is_refused_in_one_line(clone: Path, capsys) -> None:
    before = everything(clone)
    for words, message in (
        ("mae-x 0.2.0", "no package 'mae-x'; there are mae-core"),
        ("mae-data 0.1.0", "mae-data is at 0.1.0; 0.1.0 does not increase it"),
        ("mae-data 0.1.0rc1", "0.1.0rc1 does not increase it"),
        ("mae-data v0.1.1", "'v0.1.1' is not written in full"),
        ("mae-data new", "'new' is not a version"),
        ("mae-probe 0.1.1", "nothing stands under '## Unreleased'"),
        ("mae-data 0.2.0", "mae-data 0.2.0 is outside what its siblings declare: mae-finetune (<0.2,>=0.1)"),
    ):
        assert release.main([*words.split(), "--yes"], clone) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert everything(clone) == before
    (clone / "new.txt").write_text("not committed\n")
    assert release.main(["mae-data", "0.1.1", "--yes"], clone) == 2
    assert "not committed: new.txt; commit or stash first" in capsys.readouterr().err
    (clone / "new.txt").unlink()
    git(clone, "tag", "mae-data-v0.1.1")
    assert release.main(["mae-data", "0.1.1", "--yes"], clone) == 2
    assert "the tag mae-data-v0.1.1 exists" in capsys.readouterr().err


def test_a_widened_range_admits_the_release_and_news_of_a_sibling_are_said(clone: Path, capsys) -> None:
    packages = read_packages(clone)
    for package in packages.values():
        pyproject(package).write_text(
            pyproject(package).read_text().replace("mae-data>=0.1,<0.2", "mae-data>=0.1,<0.3")
        )
    history = packages["mae-probe"].changelog
    history.write_text(history.read_text().replace("## Unreleased\n", "## Unreleased\n\n- Head.\n"))
    commit_all(clone)
    assert release.main(["mae-data", "0.2.0"], clone) == 0
    assert "note:" not in capsys.readouterr().out
    assert release.main(["mae-probe", "0.1.1"], clone) == 0
    assert "note: mae-data has unreleased changes; release it first" in capsys.readouterr().out


@pytest.mark.parametrize("step", ["build", "tag"])
def test_a_step_that_fails_takes_back_what_was_written(step: str, clone: Path, monkeypatch, capsys) -> None:
    def build(*arguments: object) -> list[Path]:
        if step == "build":
            raise WorkspaceError("no compiler")
        git(clone, "tag", "mae-data-v0.1.1")  # somebody else was faster
        return []

    monkeypatch.setattr(release, "build_distributions", build)
    before = git(clone, "rev-parse", "HEAD")
    assert release.main(["mae-data", "0.1.1", "--yes"], clone) in (1, 2)
    assert ("no compiler" if step == "build" else "git tag failed") in capsys.readouterr().err
    assert (git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain")) == (before, "")
    assert read_packages(clone)["mae-data"].version == "0.1.0"
