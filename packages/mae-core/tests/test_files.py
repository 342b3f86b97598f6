"""Files reach the disk before their names do: what is renamed is whole even after a power cut."""

import os

import pytest

from mae_core import files


@pytest.fixture
def calls(monkeypatch):
    """Record what is forced to the disk and what is renamed, by name, in order."""
    done, fsync, replace = [], os.fsync, os.replace

    def record_fsync(handle):
        done.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def record_replace(source, target):
        done.append(("rename", os.path.basename(source)))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", record_fsync)
    monkeypatch.setattr(files.os, "replace", record_replace)
    return done


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_the_end(tmp_path, calls):
    files.write_atomic(tmp_path / "a", b"new")
    temporary = files.temporary_path(tmp_path / "a").name
    assert calls == [("fsync", temporary), ("rename", temporary), ("fsync", tmp_path.name)]


def test_a_folder_s_files_are_on_the_disk_before_its_name(tmp_path, calls):
    with files.publish_folder(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"a")
        (folder / "b").write_bytes(b"b")
    temporary = files.temporary_path(tmp_path / "made").name
    assert sorted(calls[:2]) == [("fsync", "a"), ("fsync", "b")]
    assert calls[2:] == [("fsync", temporary), ("rename", temporary), ("fsync", tmp_path.name)]
