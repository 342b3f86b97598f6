"""A file of ours reaches the disk before its name does."""

import os

from mae_data import files


def test_a_file_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def record_fsync(handle):
        done.append(("fsync", os.fstat(handle).st_size))  # what was not flushed would not count
        fsync(handle)

    def record_replace(source, target):
        done.append(("rename", os.path.getsize(source)))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", record_fsync)
    monkeypatch.setattr(files.os, "replace", record_replace)
    files.write_atomically(tmp_path / "a", b"new")
    assert done == [("fsync", 3), ("rename", 3)]
