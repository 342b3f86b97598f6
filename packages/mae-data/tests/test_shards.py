"""Tar shards: written, indexed, and read like the list that they were made of."""

import io
import json
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import DataError, InputError
from mae_data.files import write_whole
from mae_data.loading.dataset import ListDataset
from mae_data.sources import shard_writer
from mae_data.sources.index_file import IndexWriter, open_index
from mae_data.sources.open_source import open_source
from mae_data.sources.shard_writer import ShardOptions, write_shards
from mae_data.sources.tar_index import scan_tar, write_tar_index
from mae_data.transforms.pipelines import make_pretrain_transform

TRANSFORM = make_pretrain_transform(image_size=8)


def dataset(root, name="train_list.txt", **options):
    return ListDataset(root, name, TRANSFORM, seed=3, **options)


@pytest.fixture
def shards(image_root, tmp_path):
    """The 20 images of `image_root` in three shards."""
    target = tmp_path / "shards"
    write_shards(open_source(image_root), target, "train", ShardOptions(per_shard=8))
    return target


def test_shards_give_what_the_list_gives(image_root, shards):
    a, b = dataset(image_root, num_classes=3), dataset(shards, num_classes=3)
    assert len(a) == len(b) == 20
    for key in ((0, 0), (1, 7), (1, 8), (5, 19)):
        for x, y in zip(a[key], b[key], strict=True):
            np.testing.assert_array_equal(x, y)
    assert b.images.path(9) == "09.png"
    assert b.images.describe(9).endswith("shards/train.index:9 (train-000001.tar: 09.png)")
    assert b.images.class_folders() == a.images.class_folders()
    assert dataset(shards, "train.index").images.fingerprint() == b.images.fingerprint()


def test_the_layout_is_webdatasets(shards):
    assert sorted(p.name for p in shards.glob("*.tar")) == [f"train-{i:06d}.tar" for i in range(3)]
    with tarfile.open(shards / "train-000002.tar") as tar:
        assert tar.getnames() == [f"{i}.{e}" for i in (16, 17, 18, 19) for e in ("png", "cls")]
        assert tar.extractfile("17.cls").read() == b"2"


def test_a_stopped_run_goes_on_where_it_was(image_root, shards, monkeypatch):
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    (shards / "train-000001.tar").unlink()
    (shards / "train.index").unlink()
    source, read = open_source(image_root), []
    original = source.read
    monkeypatch.setattr(source, "read", lambda i: read.append(i) or original(i))
    assert write_shards(source, shards, "train", ShardOptions(per_shard=8)) == (3, 2)
    assert read == list(range(8, 16))
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == before


def test_a_shard_that_fails_is_not_there(image_root, tmp_path, monkeypatch):
    (image_root / "10.png").unlink()
    with pytest.raises(DataError, match=r"train_list\.txt:11 \(10\.png\): cannot read the file"):
        write_shards(open_source(image_root), tmp_path / "s", "train", ShardOptions(per_shard=8))
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["train-000000.tar", "train.plan.json"]


def test_shards_of_something_else_are_replaced_only_on_request(image_root, shards):
    source = open_source(image_root)
    for other in (ShardOptions(per_shard=10), ShardOptions(per_shard=8, side=4)):
        with pytest.raises(InputError, match="use --force"):
            write_shards(source, shards, "train", other)
    write_shards(source, shards, "train", ShardOptions(per_shard=10), force=True, workers=2)
    assert len(list(shards.glob("*.tar"))) == 2
    assert len(dataset(shards)) == 20


def test_larger_images_are_scaled_down_and_others_kept(tmp_path, save_image):
    root = tmp_path / "r"
    for i, (name, size) in enumerate((("a/b.c.png", (40, 20)), ("small.png", (9, 10)), ("a/b_c.jpg", (12, 30)))):
        save_image(root / name, i, size)
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(root / "deep.png")
    (root / "train_list.txt").write_text("a/b.c.png\nsmall.png\na/b_c.jpg\ndeep.png\n../r/a/b_c.jpg\n")
    source = open_source(root, labels="optional", allow_outside=True)
    write_shards(source, tmp_path / "s", "train", ShardOptions(side=10))
    found = open_source(tmp_path / "s", labels="optional")
    images = [Image.open(io.BytesIO(found.read(i))) for i in range(5)]
    assert [image.size for image in images] == [(20, 10), (9, 10), (10, 25), (30, 30), (10, 25)]
    assert [found.path(i) for i in range(5)] == ["a/b_c.jpg", "small.png", "a/b_c_2.jpg", "deep.png", "r/a/b_c.jpg"]
    assert found.read(1) == (root / "small.png").read_bytes()
    assert found.read(3) == (root / "deep.png").read_bytes()  # 16 bits would be lost
    wanted = Image.open(root / "a/b.c.png").resize((20, 10), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(images[0], float) - np.asarray(wanted, float)).mean() < 12  # noise, as JPEG keeps it


def write_tar(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_other_peoples_tar_files_are_indexed(tmp_path, image_root):
    png = (image_root / "00.png").read_bytes()
    long = "folder/" * 20 + "x" * 120 + ".PNG"
    members = [("1.cls", b"4\n"), ("1.json", b"{}"), ("1.png", png), ("1.seg.png", b""), ("2.png", png), (long, png)]
    write_tar(tmp_path / "b-train.tar", *members)
    write_tar(tmp_path / "a-train.tar", ("é ü.png", png), ("notes.txt", b"x"))
    assert main(["index", str(tmp_path), "--tar", "*-train.tar"]) == 0
    source = open_source(tmp_path, labels="optional")
    assert [source.path(i) for i in range(4)] == ["é ü.png", "1.png", "2.png", long]
    assert source.labels.tolist() == [-1, 4, -1, -1]
    assert all(source.read(i) == png for i in range(4))
    with pytest.raises(
        DataError, match=r"3 images have no label(.|\n)*train\.index:0 \(a-train\.tar: é ü\.png\): no label"
    ):
        open_source(tmp_path)
    with pytest.raises(DataError, match=r"train\.index:1 \(b-train\.tar: 1\.png\): label 4; allowed are 0 to 3"):
        open_source(tmp_path, labels="optional", num_classes=4)
    assert main(["index", str(tmp_path), "--tar", "*-train.tar"]) == 2
    assert main(["index", str(tmp_path), "--tar", "*-test.tar"]) == 3


@pytest.mark.parametrize(
    ("label", "reason"), [(b"cat", "'cat' is not a label"), (b"-1", "'-1' is not"), (b"9" * 11, "is not"), (b"", "''")]
)
def test_a_label_that_is_none_is_named(tmp_path, label, reason):
    write_tar(tmp_path / "a.tar", ("7.png", b"x"), ("7.cls", label))
    with pytest.raises(DataError, match=rf"a\.tar: 7\.cls: .*{reason}"):
        scan_tar(tmp_path / "a.tar")


def test_tar_files_that_cannot_be_used_are_named(tmp_path, shards):
    whole = (shards / "train-000000.tar").read_bytes()
    for name, data in (("cut.tar", whole[:1500]), ("gz.tar", b"\x1f\x8b" + whole), ("text.tar", b"no tar" * 500)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name} is (cut short|not an uncompressed tar file)"):
            scan_tar(tmp_path / name)
    write_tar(tmp_path / "empty.tar", ("a.txt", b"x"))
    with pytest.raises(DataError, match=r"empty\.tar holds no image"):
        write_tar_index(tmp_path, ["empty.tar"], tmp_path / "train.index")


def test_another_shard_of_that_name_is_noticed(shards):
    first = (shards / "train-000000.tar").read_bytes()
    (shards / "train-000000.tar").write_bytes(first[:-512])
    with pytest.raises(DataError, match=r"train-000000\.tar has \d+ bytes and had \d+ when it was indexed"):
        open_source(shards)
    (shards / "train-000000.tar").write_bytes(first[512:] + first[:512])  # of the same size
    with pytest.raises(DataError, match=r"train\.index:3 \(.*\): the shard is not the one that was indexed"):
        open_source(shards).read(3)
    (shards / "train-000000.tar").unlink()
    with pytest.raises(DataError, match=r"train-000000\.tar: cannot find the file"):
        open_source(shards)


def rewrite(path, facts=None, **arrays):
    """Change an index as a hostile one would be."""
    index = open_index(path)
    text, all_arrays = index.text.tobytes(), {k: np.array(v) for k, v in index.arrays.items()} | arrays

    def fill(file):
        writer = IndexWriter(file)
        writer.add_names(text)
        writer.finish(all_arrays, SimpleNamespace(**{**index.header, **(facts or {})}))

    write_whole(path, fill)


@pytest.mark.parametrize(
    "facts",
    [
        {"shards": [["../secret.tar", 10**9]]},
        {"shards": [["/etc/passwd", 10**9]]},
        {"shards": [["http://elsewhere/x.tar", 10**9]]},
        {"shards": [["train-000000.tar"]]},
        {"shards": 7},
        {"shards": []},
    ],
)
def test_an_index_reaches_only_the_shards_beside_it(shards, facts):
    rewrite(shards / "train.index", facts)
    with pytest.raises(DataError, match=r"train\.index: (shard|not an index|a damaged)"):
        open_source(shards)


@pytest.mark.parametrize("name", ["offsets", "sizes", "shards", "ends", "labels"])
@pytest.mark.parametrize("value", [-1, 2**40, 5])
def test_an_index_with_odd_numbers_is_refused(shards, name, value):
    array = np.array(open_index(shards / "train.index").arrays[name])
    array[11] = min(value, np.iinfo(array.dtype).max)
    rewrite(shards / "train.index", **{name: array})
    if (name, value) in (("labels", 5), ("sizes", 5)):
        return  # a number like another
    with pytest.raises(DataError, match=r"train\.index"):
        open_source(shards, num_classes=10)


@pytest.mark.parametrize("cut", [0, 1, 7, 100, 2000])
def test_a_damaged_index_is_refused(shards, cut):
    path = shards / "train.index"
    path.write_bytes(path.read_bytes()[:-cut] if cut else b"")
    with pytest.raises(DataError, match=r"train\.index: (not an index|cannot read)"):
        open_source(shards)


def test_the_command_writes_all_parts_and_says_what_is_there(image_root, tmp_path, capsys):
    (image_root / "val_list.txt").write_text("01.png 1\n")
    (image_root / "classes.txt").write_text("a\nb\nc\n")
    words = ["shard", str(image_root), str(tmp_path / "s"), "--per-shard", "15", "--workers", "2"]
    assert main(words) == main(words) == 0
    out = capsys.readouterr().out
    assert "train.index: 20 images in 2 shards\n" in out
    assert "val.index: 1 images in 1 shards, 1 of them were there\n" in out
    assert (tmp_path / "s" / "classes.txt").read_text() == "a\nb\nc\n"
    assert main(["verify", str(tmp_path / "s")]) == 0
    assert "21 images checked, 0 bad, 1 duplicates" in capsys.readouterr().out
    assert main(["stats", str(tmp_path / "s"), "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert main(["stats", str(image_root), "--json"]) == 0
    wanted = json.loads(capsys.readouterr().out)
    assert {**stats, "list": ""} == {**wanted, "list": ""}


def test_a_full_disk_is_one_line(image_root, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_writer, "write_whole", full)
    with pytest.raises(InputError, match=r"No space left on device.*run the same command again"):
        write_shards(open_source(image_root), tmp_path / "s", "train", ShardOptions())
