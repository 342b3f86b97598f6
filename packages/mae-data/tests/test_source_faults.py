"""Bad data, with each kind of source: a defined result or one line that names the image."""

import importlib.util
import io
import logging
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.formats import open_image
from mae_data.images.jpeg import JpegImage
from mae_data.loading.bad_images import BadImages
from mae_data.loading.dataset import ListDataset
from mae_data.sources.open_source import open_source
from mae_data.sources.shard_writer import ShardOptions, write_shards

needs_pyarrow = pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs the extra `parquet`")
KINDS = [
    "list",
    "folder",
    "shards",
    pytest.param("parquet", marks=needs_pyarrow),
    pytest.param("arrow", marks=needs_pyarrow),
]


def unchanged(image, rng):
    whole = image.decoded() if isinstance(image, JpegImage) else image
    return np.atleast_3d(np.asarray(whole))


@pytest.fixture(params=KINDS)
def make(request, tmp_path, monkeypatch):
    """Write files, by name, as one kind of source, and open it; labels count up from 0."""
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))

    def make(files, **options):
        root = WRITERS[request.param](tmp_path, files)
        return ListDataset(root, "train_list.txt", unchanged, labels="optional", **options)

    make.kind = request.param
    return make


def write_list(folder, files):
    write_folder(folder, files)
    (folder / "images/train_list.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(files)))
    return folder / "images"


def write_folder(folder, files):
    for name, data in files.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(data)
    return folder / "images"


def write_tars(folder, files):
    write_shards(
        open_source(write_list(folder, files), labels="optional"), folder / "tar", "train", ShardOptions(per_shard=3)
    )
    return folder / "tar"


def write_table(folder, files, ending):
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "table").mkdir()
    rows = pa.table({"image": [{"bytes": data} for data in files.values()], "label": list(range(len(files)))})
    if ending == "parquet":
        parquet.write_table(rows, folder / "table/train.parquet", row_group_size=2)
    else:
        with pa.OSFile(str(folder / "table/train.arrow"), "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
            writer.write_table(rows)
    return folder / "table"


WRITERS = {
    "list": write_list,
    "folder": write_folder,
    "shards": write_tars,
    "parquet": lambda folder, files: write_table(folder, files, "parquet"),
    "arrow": lambda folder, files: write_table(folder, files, "arrow"),
}


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(len(shape)).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


GOOD = encoded(Image.fromarray(noise(6, 5, 3)))
JPEG = encoded(Image.fromarray(noise(60, 50, 3)), "JPEG")
BAD = {"truncated": JPEG[: len(JPEG) // 2], "no image": b"<html>not found</html>"}


def place(make, index, name):
    """Return what a message must call an image."""
    return {
        "list": f"train_list.txt:{index + 1} ({name})",
        "folder": f"images/{name}",
        "shards": f"train.index:{index} (train-00000{index // 3}.tar: {name})",
        "parquet": f"train.parquet: row {index}",
        "arrow": f"train.arrow: row {index}",
    }[make.kind]


@pytest.mark.parametrize("fault", [*BAD, "empty"])
def test_a_bad_image_is_named(make, fault):
    dataset = make({"1.png": GOOD, "sub dir/2 é.jpg": BAD.get(fault, b""), "z.png": GOOD})
    assert dataset[0][0].shape == (6, 5, 3)
    with pytest.raises(DataError) as caught:
        dataset[1]
    message = str(caught.value)
    assert place(make, 1, "sub dir/2 é.jpg") in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


def test_bad_images_are_skipped_counted_and_capped(make, caplog):
    bad = BAD["no image"]
    dataset = make({"1.png": GOOD, "2.png": bad, "3.png": bad, "4.png": GOOD}, on_error="skip", max_skipped=2)
    with caplog.at_level(logging.WARNING, "mae_data"):
        image, _, index = dataset[(4, 1)]
        dataset[(5, 2)]
    assert index == 3
    np.testing.assert_array_equal(image, dataset[3][0])
    assert len(caplog.records) == 2
    assert place(make, 1, "2.png") in caplog.text
    dataset.bad = BadImages(4, 1)
    with pytest.raises(DataError, match="1 images were skipped"):
        dataset[1]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_from_its_header(make):
    size = struct.pack(">II", 40_000, 40_000) + bytes([8, 2, 0, 0, 0])
    header = b"IHDR" + size
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + GOOD[33:]
    long = encoded(Image.new("1", (9_500, 9_500)))
    dataset = make({"1.png": bomb, "2.png": long, "3.png": GOOD})
    for index, reason in ((0, "40000x40000 pixels are above the limit"), (1, "9500x9500 pixels are above the limit")):
        with pytest.raises(DataError, match=reason) as caught:
            dataset[index]
        assert place(make, index, f"{index + 1}.png") in str(caught.value)
    assert dataset[2][0].shape == (6, 5, 3)


def test_each_kind_of_file_has_one_result(make):
    rgb = Image.fromarray(noise(6, 5, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated
    files = {
        "alpha.png": encoded(Image.fromarray(noise(6, 5, 4))),
        "animated.gif": encoded(rgb.quantize(), "GIF", save_all=True, append_images=[Image.new("P", (5, 6))]),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "grey.png": encoded(rgb.convert("L")),
        "one.png": encoded(Image.new("RGB", (1, 1), (7, 8, 9))),
        "palette.png": encoded(rgb.quantize(), transparency=0),
        "rotated.jpg": encoded(rgb, "JPEG", exif=exif),
        "z deep.png": encoded(Image.fromarray(noise(6, 5, dtype=np.uint16))),
    }
    dataset = make(files)
    for index, data in enumerate(list(files.values())[:7]):
        np.testing.assert_array_equal(dataset[index][0], np.asarray(open_image(io.BytesIO(data))))
    assert dataset[6][0].shape == (5, 6, 3)
    with pytest.raises(DataError) as caught:
        dataset[7]  # its bits would be lost where the value range is 255
    assert place(make, 7, "z deep.png") in str(caught.value)


def test_odd_names_are_kept(make):
    names = ["Ünï cödé 犬.png", "a  b.png", "no-ending-but.x.png"]
    dataset = make(dict.fromkeys(sorted(names), GOOD))
    assert all(dataset[i][2] == i for i in range(3))
    assert len(dataset.images.fingerprint()["sha256"]) == 64


def test_what_is_no_file_with_data_is_never_opened(tmp_path):
    root = write_list(tmp_path, dict.fromkeys(["device.png", "pipe.png", "folder.png", "huge.png"], GOOD))
    for name in ("device.png", "pipe.png", "folder.png"):
        (root / name).unlink()
    (root / "device.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.png")
    (root / "folder.png").mkdir()
    os.truncate(root / "huge.png", 1 << 40)
    source = open_source(root)
    for index in range(3):
        with pytest.raises(DataError, match=rf"train_list\.txt:{index + 1} .*not a file with data"):
            source.read(index)
    with pytest.raises(DataError, match="1099511627776 bytes are more than the limit"):
        source.read(3)


def test_the_same_images_twice_are_mentioned(tmp_path):
    root = write_list(tmp_path, {"a.png": GOOD, "b.png": GOOD})
    with (root / "train_list.txt").open("a") as file:
        file.write("a.png 0\na.png 1\n")
    (note,) = open_source(root).notes
    assert note.endswith("train_list.txt: 2 of 4 entries repeat the path of an earlier one")


@needs_pyarrow
def test_empty_sources_are_named(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "folder").mkdir()
    (tmp_path / "list").mkdir()
    (tmp_path / "list/train_list.txt").write_text("\n")
    (tmp_path / "table").mkdir()
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "table/train.parquet")
    for name, reason in (("folder", "no images"), ("list", "the list is empty"), ("table", "the table has no rows")):
        with pytest.raises(DataError, match=reason):
            open_source(tmp_path / name, labels="optional")
