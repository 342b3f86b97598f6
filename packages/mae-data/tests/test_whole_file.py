"""Files are whole or not there, also after a power cut."""

import os
from pathlib import Path

import pytest

from mae_data.errors import InputError
from mae_data.files import write_atomically, write_whole


@pytest.mark.parametrize(
    "write",
    [lambda path: write_atomically(path, b"four"), lambda path: write_whole(path, lambda file: file.write(b"four"))],
)
def test_all_of_a_file_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch, write):
    calls, fsync, replace = [], os.fsync, os.replace

    def recording_fsync(fd):
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}")).name, os.fstat(fd).st_size))
        fsync(fd)

    def recording_replace(old, new):
        calls.append(("rename", Path(old).name, Path(new).name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    write(tmp_path / "list.txt")
    temporary = calls[0][1]
    folder = ("fsync", tmp_path.name, tmp_path.stat().st_size)  # without it, a power cut may take the new name
    assert calls == [("fsync", temporary, 4), ("rename", temporary, "list.txt"), folder]
    assert (tmp_path / "list.txt").read_bytes() == b"four"


def test_what_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_bytes(b"old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"list\.txt \(No space left on device\)"):
        write_atomically(tmp_path / "list.txt", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("list.txt", b"old")]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "list.txt", b"new")
        assert (tmp_path / "list.txt").stat().st_mode & 0o777 == mode
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_a_link_at_the_temporary_name_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"mine")
    (tmp_path / f".list.txt.{os.getpid()}.tmp").symlink_to(tmp_path / "mine.txt")
    write_atomically(tmp_path / "list.txt", b"new")
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"new", b"mine"]
