"""Kept indexes: a damaged or foreign one is made anew, said once, and never raises."""

import json
import os
import struct

import numpy as np
import pytest
from PIL import Image

from mae_data.sources import image_list
from mae_data.sources.folders.folder import open_folder
from mae_data.sources.index_file import open_index


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_list, "CACHED_FROM_BYTES", 0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "data" / name / "1.png")
    (tmp_path / "data/list.txt").write_text("a/1.png 0\nb/1.png 1\n")
    for path in (tmp_path / "data/a", tmp_path / "data/b", tmp_path / "data", tmp_path / "data/list.txt"):
        os.utime(path, (1e9, 1e9))
    return tmp_path / "data"


def read_list(folder):
    images = image_list.read_list("list.txt", folder)
    return [images.path(i) for i in range(len(images))], images.labels.tolist(), images.duplicates


def read_folder(folder):
    images = open_folder(folder, "train", labelled=True)
    return [images.path(i) for i in range(len(images))], images.labels.tolist(), list(images.notes)


def kept(folder):
    (path,) = (folder.parent / "cache").iterdir()
    return path


def facts_of(path):
    return list(open_index(path).header)


def rewrite_facts(path, change):
    """Write an index with other facts."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[-16:-8])[0]
    header = json.loads(data[-16 - length : -16])
    change(header["facts"])
    header.pop("crc")  # as of an earlier release
    text = json.dumps(header).encode()
    path.write_bytes(data[: -16 - length] + text + struct.pack("<Q", len(text)) + data[-8:])


@pytest.mark.parametrize("read", [read_list, read_folder])
def test_a_kept_index_of_odd_facts_is_made_anew_and_said_once(folder, caplog, read):
    expected = read(folder)
    for name in facts_of(kept(folder)):
        for change in (lambda facts, n=name: facts.pop(n), lambda facts, n=name: facts.update({n: None})):
            rewrite_facts(kept(folder), change)
            caplog.clear()
            assert read(folder) == expected
            assert caplog.text.count("made anew") == 1
            assert read(folder) == expected
            assert caplog.text.count("made anew") == 1


@pytest.mark.parametrize("read", [read_list, read_folder])
def test_a_mutated_header_never_raises(folder, read):
    expected = read(folder)
    sound = kept(folder).read_bytes()
    begin = len(sound) - 16 - struct.unpack("<Q", sound[-16:-8])[0]
    draw = np.random.default_rng(0)
    for _ in range(25):
        data = bytearray(sound)
        for place in draw.integers(begin, len(data), draw.integers(1, 4)):
            data[place] = draw.integers(256)
        for path in (folder.parent / "cache").iterdir():
            path.write_bytes(data)
        assert read(folder) == expected


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_an_index_that_others_may_write_is_not_believed(folder, caplog, mode):
    expected = read_list(folder)
    kept(folder).chmod(mode)
    assert read_list(folder) == expected
    assert "others may write it" in caplog.text
    assert kept(folder).stat().st_mode & 0o777 == 0o600


def test_an_index_of_another_user_is_not_believed(folder, caplog, monkeypatch):
    expected = read_list(folder)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert read_list(folder) == expected
    assert "the file is another user's" in caplog.text
