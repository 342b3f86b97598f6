import hashlib
import os
import re
import time

import numpy as np
import pytest

from mae_data.errors import DataError
from mae_data.sources import image_list, list_file
from mae_data.sources.image_list import read_list


@pytest.fixture
def write_list(tmp_path):
    def write(content: bytes):
        path = tmp_path / "train_list.txt"
        path.write_bytes(content)
        return path

    return write


def entries(images):
    return [(images.path(i), int(images.labels[i]), int(images.lines[i])) for i in range(len(images))]


@pytest.mark.parametrize(
    "content",
    [
        b"a/1.jpg 0\nb/2.jpg 12\n",
        b"a/1.jpg 0\nb/2.jpg 12",
        b"a/1.jpg 0\r\nb/2.jpg 12\r\n",
        b"\xef\xbb\xbfa/1.jpg 0\nb/2.jpg 12\n",
        b"\xef\xbb\xbfa/1.jpg\t0\r\nb/2.jpg   12  \r\n\r\n\r\n",
    ],
)
def test_accepts_every_line_ending_and_bom(write_list, content):
    images = read_list(write_list(content))
    assert entries(images) == [("a/1.jpg", 0, 1), ("b/2.jpg", 12, 2)]
    assert images.labels.dtype == np.int64


def test_paths_keep_spaces_and_unicode_and_blank_lines_keep_numbers(write_list):
    text = "\nmein Bild  1.jpg 3\n\n犬/é.png 4\n"
    images = read_list(write_list(text.encode()))
    assert entries(images) == [("mein Bild  1.jpg", 3, 2), ("犬/é.png", 4, 4)]
    assert images.describe(1).endswith("train_list.txt:4 (犬/é.png)")


def test_labels_may_be_missing_where_they_are_optional(write_list):
    images = read_list(write_list(b"a 1.jpg\nb.jpg 2\nmy photo.jpg\n"), labels="optional")
    assert entries(images) == [("a 1.jpg", -1, 1), ("b.jpg", 2, 2), ("my photo.jpg", -1, 3)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.jpg", "no label"),
        ("a.jpg one", "'one' is not an integer"),
        ("a.jpg 1.0", "'1.0' is not an integer"),
        ("a.jpg 1_0", "not an integer"),
        ("a.jpg -1", "-1 is negative"),
        ("a.jpg 10", "10 is too large; the largest allowed is 9"),
        ("a.jpg 99999999999999999999999", "too large"),
        ("a.jpg " + "9" * 5000, "too large"),
        ("a.jpg 0099999999999", "too large"),
        ("/etc/a.jpg 1", "absolute; write it relative to the root, or opt in with allow_outside=True"),
        ("../a.jpg 1", "leaves the root"),
        ("b/../../a.jpg 1", "leaves the root"),
    ],
)
def test_a_bad_line_is_named(write_list, line, reason):
    path = write_list(f"ok.jpg 0\nok..jpg 9\n{line}\n".encode())
    with pytest.raises(DataError) as caught:
        read_list(path, num_classes=10)
    message = str(caught.value)
    assert f"{path}:3: " in message
    assert reason in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


def test_all_bad_lines_are_counted_and_ten_shown(write_list):
    lines = [f"{i}.jpg {'x' if i % 2 else i}" for i in range(50)]
    with pytest.raises(DataError) as caught:
        read_list(write_list("\n".join(lines).encode()))
    headline, *shown = str(caught.value).splitlines()
    assert "25 bad lines" in headline
    numbers = [int(re.search(r"train_list.txt:(\d+): ", line)[1]) for line in shown]
    assert numbers == list(range(2, 22, 2))


def test_labels_without_num_classes_are_not_limited_to_a_count(write_list):
    assert read_list(write_list(b"a.jpg 21000\n")).labels.tolist() == [21000]


def test_the_number_of_classes_follows_from_the_labels(write_list):
    assert read_list(write_list(b"a.jpg 4\nb.jpg 0\n")).num_classes == 5
    assert read_list(write_list(b"a.jpg\n"), labels="optional").num_classes == 0


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_list_is_named(write_list, content):
    with pytest.raises(DataError, match=r"train_list\.txt: the list is empty"):
        read_list(write_list(content))


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train_list\.txt: cannot read the list .*No such file"):
        read_list(tmp_path / "train_list.txt")
    with pytest.raises(DataError, match=r"no_such\.txt: cannot read the list .*index FOLDER"):
        read_list("no_such.txt", tmp_path)


def test_other_encodings_are_named_with_their_line(write_list):
    with pytest.raises(DataError, match=r"train_list\.txt:2: not UTF-8"):
        read_list(write_list("a.jpg 1\né.jpg 2\n".encode("latin-1")))


def test_a_list_is_looked_for_below_the_root_only(tmp_path, monkeypatch):
    for folder, name in (("here", "wrong.jpg"), ("root", "right.jpg")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train_list.txt").write_text(f"{name} 0\n")
    (tmp_path / "here" / "only_here.txt").write_text("wrong.jpg 0\n")
    monkeypatch.chdir(tmp_path / "here")
    assert read_list("train_list.txt", tmp_path / "root").path(0) == "right.jpg"
    assert read_list("../here/train_list.txt", tmp_path / "root").path(0) == "wrong.jpg"
    with pytest.raises(DataError, match=r"root/only_here\.txt: cannot read the list"):
        read_list("only_here.txt", tmp_path / "root")
    assert read_list(tmp_path / "here" / "only_here.txt", tmp_path / "root").path(0) == "wrong.jpg"


def test_files_are_below_the_root_or_beside_the_list(write_list, tmp_path):
    path = write_list(b"a/x.jpg 0\n")
    assert read_list(path).file(0) == os.fsencode(tmp_path / "a" / "x.jpg")
    assert read_list(path, tmp_path / "r").file(0) == os.fsencode(tmp_path / "r" / "a" / "x.jpg")


def test_links_below_the_root_are_followed_and_broken_ones_named(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "d").mkdir(parents=True)
    (outside / "d" / "f.jpg").write_bytes(b"pixels")
    (root / "file_link.jpg").symlink_to(outside / "d" / "f.jpg")
    (root / "folder_link").symlink_to(outside / "d")
    (root / "broken.jpg").symlink_to(outside / "gone.jpg")
    (root / "train_list.txt").write_text("file_link.jpg 0\nfolder_link/f.jpg 0\nbroken.jpg 0\n")
    images = read_list(root / "train_list.txt")
    assert [images.read(i) for i in (0, 1)] == [b"pixels"] * 2
    with pytest.raises(DataError, match=r"train_list.txt:3 \(broken.jpg\): cannot read the file \(No such file"):
        images.read(2)


def test_a_linked_root_is_no_way_out(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "train_list.txt").write_text("a.jpg 0\n")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    images = read_list("train_list.txt", tmp_path / "data")
    assert images.file(0) == os.fsencode(tmp_path / "data" / "a.jpg")


def test_outside_paths_are_accepted_when_opted_in(write_list, tmp_path):
    images = read_list(write_list(b"/abs/a.jpg 0\n../b.jpg 1\n"), tmp_path / "r", allow_outside=True)
    assert images.file(0) == b"/abs/a.jpg"
    assert images.path(1) == "../b.jpg"


def test_a_class_is_named_by_the_folder_of_its_first_image(tmp_path):
    (tmp_path / "list.txt").write_text("a/red fox/1.jpg 4\nb/2.jpg 0\nc/3.jpg 4\n4.jpg 7\n")
    images = read_list("list.txt", tmp_path)
    assert images.class_folders() == {0: "b", 4: "red fox", 7: ""}
    assert images.class_folders(np.array([1, 1, 2, 2])) == {1: "red fox", 2: "c"}


@pytest.mark.parametrize("lines", [1, 2, 100])
def test_blocks_keep_the_numbers_of_their_lines(write_list, monkeypatch, lines):
    monkeypatch.setattr(list_file, "BLOCK_LINES", lines)
    text = b"\xef\xbb\xbfa 0\n\nlonger/path.jpg 1\r\n \t\nlast 2"
    path = write_list(text)
    images = read_list(path)
    assert entries(images) == [("a", 0, 1), ("longer/path.jpg", 1, 3), ("last", 2, 5)]
    assert images.fingerprint()["sha256"] == hashlib.sha256(text).hexdigest()
    for line in (b"\nb x", b"\n\xff 1"):  # a bad label, not UTF-8
        path.write_bytes(text + line)
        with pytest.raises(DataError, match=r"train_list\.txt:6: "):
            read_list(path)


def test_a_file_that_is_no_list_is_refused_early(write_list, monkeypatch):
    monkeypatch.setattr(list_file, "MAX_LINE_BYTES", 1000)
    with pytest.raises(DataError, match=r"train_list\.txt:2: a line of more than 1000 bytes"):
        read_list(write_list(b"a.jpg 0\n" + b"x" * 5000))


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Let every list go through the cache; count how often one is read in full."""
    monkeypatch.setattr(image_list, "CACHED_FROM_BYTES", 0)
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    built = []
    build = image_list._index_list
    monkeypatch.setattr(image_list, "_index_list", lambda *args: (built.append(args[1]), build(*args)))
    return built


def age(path, seconds):
    """Let a file have changed a while ago: only then its time is trusted."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_cached_list_is_read_once_for_each_content(write_list, cached):
    path = write_list(b"a b.jpg 3\nc.jpg 1\n")
    wanted = [("a b.jpg", 3, 1), ("c.jpg", 1, 2)]
    for seconds in (0, 100, 100, 50):  # fresh, settled, the same again, touched
        if seconds:
            age(path, seconds)
        images = read_list(path)
        assert entries(images) == wanted
    assert len(cached) == 1
    first = images.fingerprint()
    assert first == {"images": 2, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_list(b"a b.jpg 3\nd.jpg 1\n")  # of the same size
    age(path, 50)
    assert entries(read_list(path))[1] == ("d.jpg", 1, 2)
    assert len(cached) == 2
    assert read_list(path).fingerprint() != first


def test_what_a_caller_allows_is_not_cached(write_list, cached):
    path = write_list(b"a.jpg 3\nb.jpg\n../c.jpg 1\n")
    age(path, 50)
    assert len(read_list(path, labels="optional", allow_outside=True)) == 3
    with pytest.raises(DataError, match="2 bad lines"):
        read_list(path)
    with pytest.raises(DataError, match="label 3 is too large"):
        read_list(path, labels="optional", allow_outside=True, num_classes=3)
    assert len(cached) == 1


@pytest.mark.parametrize("damage", [b"", b"no index", None])
def test_a_damaged_cache_is_made_anew(write_list, cached, tmp_path, damage):
    path = write_list(b"a.jpg 3\n")
    age(path, 50)
    read_list(path)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    assert entries(read_list(path)) == [("a.jpg", 3, 1)]


def test_without_a_cache_folder_the_list_is_read_each_time(write_list, cached, monkeypatch, caplog):
    monkeypatch.setenv("MAE_DATA_CACHE", "/dev/null/cache")
    path = write_list(b"a.jpg 3\n")
    assert entries(read_list(path)) == entries(read_list(path)) == [("a.jpg", 3, 1)]
    assert len(cached) == 2
    assert "set MAE_DATA_CACHE" in caplog.text
