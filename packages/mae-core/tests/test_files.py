"""Files outlive a power cut: what is renamed into place is on the disk before, and the rename itself after."""

import os
import stat
from pathlib import Path

import pytest

from mae_core.files import publish_folder, replace_atomic, temporary_path, write_atomic


@pytest.fixture
def asked(monkeypatch):
    """Record what the disk is asked for, in order: fsync of a file of so many bytes, rename, fsync of a folder."""
    calls, fsync, replace = [], os.fsync, os.replace

    def recording_fsync(fd):
        facts, name = os.fstat(fd), Path(os.readlink(f"/proc/self/fd/{fd}")).name
        calls.append(("fsync folder", name) if stat.S_ISDIR(facts.st_mode) else ("fsync", name, facts.st_size))
        fsync(fd)

    def recording_replace(old, new):
        calls.append(("rename", Path(old).name, Path(new).name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    return calls


both_writers = pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomic(path, b"four"),
        lambda path: replace_atomic(path, lambda temporary: temporary.write_bytes(b"four")),
    ],
)


@both_writers
def test_a_file_is_on_the_disk_before_its_name_is_and_its_folder_after(tmp_path, asked, write):
    write(tmp_path / "state.json")
    temporary = asked[0][1]
    assert temporary != "state.json"
    assert asked == [("fsync", temporary, 4), ("rename", temporary, "state.json"), ("fsync folder", tmp_path.name)]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("state.json", b"four")]


def test_a_folder_s_files_and_itself_are_on_the_disk_before_its_name_is(tmp_path, asked):
    with publish_folder(tmp_path / "step") as temporary:
        (temporary / "a").write_bytes(b"1")
        (temporary / "b").write_bytes(b"22")
    assert sorted(asked[:2]) == [("fsync", "a", 1), ("fsync", "b", 2)]
    name = temporary.name
    assert asked[2:] == [("fsync folder", name), ("rename", name, "step"), ("fsync folder", tmp_path.name)]


@both_writers
def test_a_link_at_the_temporary_name_is_not_followed(tmp_path, write):
    (tmp_path / "mine.txt").write_bytes(b"mine")
    temporary_path(tmp_path / "list.txt").symlink_to(tmp_path / "mine.txt")
    write(tmp_path / "list.txt")
    assert [(path.is_symlink(), path.read_bytes()) for path in sorted(tmp_path.iterdir())] == [
        (False, b"four"),
        (False, b"mine"),
    ]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "list.txt", b"new")
        assert (tmp_path / "list.txt").stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
