"""tools/release.py on a clone: what it shows, what it refuses, what it leaves behind."""

import datetime
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import release
from changelog import unreleased, with_release
from workspace import ROOT, WorkspaceError, read_packages, release_tag, tagged_package

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
        package.changelog.write_text(f"# Changelog of {name}\n\n## Unreleased\n\n{news}\n## 0.1.0\n\nFirst release.\n")
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


def test_unreleased_lines_move_under_the_version() -> None:
    assert unreleased(HISTORY) == "- New.\n  More of it."
    moved = with_release(HISTORY, "0.2.0", "2026-01-31")
    assert moved == HISTORY.replace("## Unreleased\n", "## Unreleased\n\n## 0.2.0 (2026-01-31)\n")
    assert unreleased(moved) == ""


@pytest.mark.parametrize("text", [HISTORY.replace("- New.\n  More of it.\n", ""), "# Changelog\n", ""])
def test_a_release_without_news_is_refused(text: str) -> None:
    with pytest.raises(WorkspaceError, match="nothing stands under '## Unreleased'"):
        with_release(text, "0.2.0", "2026-01-31")


def test_a_tag_names_a_package_at_its_version() -> None:
    packages = read_packages()
    for name, package in packages.items():
        assert tagged_package(release_tag(name, package.version), packages) is package
    for tag in ("mae-core-v99.0.0", "mae-x-v0.1.0", "v0.1.0", "mae-core"):
        with pytest.raises(WorkspaceError, match=f"{tag} is not the tag of a package .*mae-core-v"):
            tagged_package(tag, packages)


def test_the_plan_is_shown_and_nothing_changes(clone: Path, tmp_path: Path, capsys) -> None:
    before = everything(clone)
    assert release.main(["mae-data", "0.1.1", "--dist", str(tmp_path / "dist")], clone) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("mae-data 0.1.0 -> 0.1.1, on ")
    for part in (
        "packages/mae-data/CHANGELOG.md",
        f"0.1.1 ({TODAY}):\n     - Faster.",
        "tag mae-data-v0.1.1",
        "--yes does this",
    ):
        assert part in shown
    assert everything(clone) == before
    assert not (tmp_path / "dist").exists()


@pytest.mark.slow
def test_a_release_is_a_commit_a_tag_and_two_files(clone: Path, tmp_path: Path, capsys) -> None:
    assert release.main(["mae-data", "0.1.1", "--yes", "--dist", str(tmp_path / "dist")], clone) == 0
    assert capsys.readouterr().out.endswith("done; publish it with: git push origin HEAD mae-data-v0.1.1\n")
    package = read_packages(clone)["mae-data"]
    assert package.version == "0.1.1"
    assert f"## Unreleased\n\n## 0.1.1 ({TODAY})\n\n- Faster.\n# 1 of 2\n\n## 0.1.0\n" in package.changelog.read_text()
    changed = git(clone, "show", "--name-only", "--format=%s", "HEAD").split("\n")
    assert changed[0] == "Release mae-data 0.1.1"
    assert sorted(changed[2:]) == ["packages/mae-data/CHANGELOG.md", "packages/mae-data/src/mae_data/__init__.py"]
    assert git(clone, "rev-parse", "mae-data-v0.1.1^{commit}") == git(clone, "rev-parse", "HEAD")
    assert git(clone, "tag", "--list", "--format=%(contents)") == "Release mae-data 0.1.1\n\n- Faster.\n# 1 of 2"
    assert git(clone, "status", "--porcelain") == ""
    assert tagged_package("mae-data-v0.1.1", read_packages(clone)).name == "mae-data"
    wheel, source = sorted((tmp_path / "dist").iterdir(), key=lambda path: path.suffix, reverse=True)
    # Where there is a C compiler, mae-data's wheel holds a library for this platform.
    assert wheel.name.startswith("mae_data-0.1.1-")
    assert source.name == "mae_data-0.1.1.tar.gz"
    assert b'__version__ = "0.1.1"' in zipfile.ZipFile(wheel).read("mae_data/__init__.py")
    with tarfile.open(source) as archive:
        assert "mae_data-0.1.1/src/mae_data/__init__.py" in archive.getnames()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mae-x 0.2.0", "no package 'mae-x'; there are mae-core"),
        ("mae-data 0.1.0", "mae-data is at 0.1.0; 0.1.0 does not increase it"),
        ("mae-data 0.1.0rc1", "0.1.0rc1 does not increase it"),
        ("mae-data 0.2", "'0.2' is not written in full"),
        ("mae-data v0.1.1", "'v0.1.1' is not written in full"),
        ("mae-data 0.1.1+local", "is not written in full"),
        ("mae-data new", "'new' is not a version"),
        ("mae-probe 0.1.1", "nothing stands under '## Unreleased'"),
        (
            "mae-data 0.2.0",
            "mae-data 0.2.0 is outside what its siblings declare: mae-finetune (<0.2,>=0.1), mae-pretrain (<0.2,"
            ">=0.1), mae-probe (<0.2,>=0.1); widen",
        ),
    ],
)
def test_a_wrong_release_is_refused_in_one_line(words: str, message: str, clone: Path, capsys) -> None:
    before = everything(clone)
    assert release.main([*words.split(), "--yes"], clone) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("tools/dev.py release: ")
    assert printed.err.count("\n") == 1
    assert everything(clone) == before


def test_a_changed_file_and_an_existing_tag_are_refused(clone: Path, capsys) -> None:
    (clone / "new.txt").write_text("not committed\n")
    assert release.main(["mae-data", "0.1.1", "--yes"], clone) == 2
    assert "not committed: new.txt; commit or stash first" in capsys.readouterr().err
    (clone / "new.txt").unlink()
    git(clone, "tag", "mae-data-v0.1.1")
    assert release.main(["mae-data", "0.1.1", "--yes"], clone) == 2
    assert "the tag mae-data-v0.1.1 exists" in capsys.readouterr().err


def test_a_widened_range_admits_the_release_and_news_of_a_sibling_are_said(clone: Path, capsys) -> None:
    for package in read_packages(clone).values():
        pyproject(package).write_text(
            pyproject(package).read_text().replace("mae-data>=0.1,<0.2", "mae-data>=0.1,<0.3")
        )
    probe = read_packages(clone)["mae-probe"]
    probe.changelog.write_text(probe.changelog.read_text().replace("## Unreleased\n", "## Unreleased\n\n- Head.\n"))
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


def test_dev_py_passes_a_release_on() -> None:
    command = [sys.executable, str(ROOT / "tools/release.py"), "mae-x", "0.2.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tools/dev.py release: no package 'mae-x'")
