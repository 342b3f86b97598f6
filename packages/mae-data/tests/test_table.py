"""Parquet files and saved Hugging Face `datasets`."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mae_data.cli import main
from mae_data.errors import DataError, InputError
from mae_data.loading.dataset import ListDataset
from mae_data.sources.open_source import open_parts, open_source
from mae_data.transforms.pipelines import make_pretrain_transform

pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
TRANSFORM = make_pretrain_transform(image_size=8)
NAMES = {"info": {"features": {"label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}}}


def table(image_root, numbers, labels=None, **columns):
    data = [{"bytes": (image_root / f"{i:02d}.png").read_bytes(), "path": f"{i:02d}.png"} for i in numbers]
    columns = {"image": data, "label": labels or [i % 3 for i in numbers], **columns}
    made = pa.table(columns)
    return made.replace_schema_metadata({"huggingface": json.dumps(NAMES)})


def write_parquet(path, made, rows=3):
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(made, path, row_group_size=rows)


def write_arrow(path, made):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        for batch in made.to_batches(max_chunksize=4):
            writer.write_batch(batch)


WRITERS = {"parquet": write_parquet, "arrow": write_arrow}


@pytest.fixture(params=WRITERS)
def kind(request):
    return request.param


@pytest.fixture
def hub(image_root, tmp_path, kind):
    """The images of `image_root` as the Hub lays them out, in two files, and four of them for validation."""
    write = WRITERS[kind]
    for number, rows in enumerate((range(11), range(11, 20))):
        write(tmp_path / "hub" / "data" / f"train-0000{number}-of-00002.{kind}", table(image_root, rows))
    write(tmp_path / "hub" / "data" / f"validation-00000-of-00001.{kind}", table(image_root, range(4)))
    return tmp_path / "hub"


@pytest.mark.parametrize("workers", [0, 2])
def test_tables_give_what_the_list_gives(image_root, hub, workers):
    from mae_data.loading.loader import make_loader
    from mae_data.loading.sampler import TrainBatchSampler

    datasets = [ListDataset(r, "train_list.txt", TRANSFORM, seed=3, num_classes=3) for r in (image_root, hub)]
    sampler = TrainBatchSampler(20, 4, seed=1, num_steps=7)
    a, b = ([[x.numpy() for x in batch] for batch in make_loader(d, sampler, num_workers=workers)] for d in datasets)
    for x, y in zip(a, b, strict=True):
        for one, other in zip(x, y, strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_a_table_is_called(hub, kind):
    source = pickle.loads(pickle.dumps(open_source(hub)))
    assert len(source) == 20
    assert source.describe(12) == f"{hub}/data/train-00001-of-00002.{kind}: row 1"
    assert source.path(12) == "train-00001-of-00002/1"
    assert source.class_folders() == {0: "cat", 1: "dog", 2: "eel"}
    assert source.fingerprint() == open_source(hub).fingerprint()
    assert {part: len(found) for part, found in open_parts(hub).items()} == {"train": 20, "val": 4}
    with pytest.raises(IndexError):
        source.path(20)


def test_a_file_alone_and_a_saved_data_set(image_root, tmp_path, kind):
    write = WRITERS[kind]
    write(tmp_path / "a" / f"mine.{kind}", table(image_root, range(5)))
    assert len(open_source(tmp_path / "a" / f"mine.{kind}")) == 5
    assert len(open_source(tmp_path / "a", f"mine.{kind}")) == 5
    assert len(open_source(tmp_path / "a")) == 5
    with pytest.raises(DataError, match="has no table of the part 'val'"):
        open_source(tmp_path / "a", "val_list.txt")
    for part, count in (("train", 6), ("test", 2)):
        write(tmp_path / "saved" / part / f"data-00000-of-00001.{kind}", table(image_root, range(count)))
    assert len(open_source(tmp_path / "saved")) == 6
    assert len(open_source(tmp_path / "saved", "val_list.txt")) == 2
    first = open_source(tmp_path / "saved").fingerprint()
    write(tmp_path / "saved" / "train" / f"data-00000-of-00001.{kind}", table(image_root, [1, 0, 2, 3, 4, 5]))
    assert open_source(tmp_path / "saved").fingerprint() != first


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 1, None, 2], "row 2: no label; allowed are 0 to 2"),
        ([0, 1, 2, 3], "row 3: label 3"),
        ([0, -5, 1, 2], "row 1: label -5"),
        ([9] * 4, "4 images have no label from 0 to 2"),
    ],
)
def test_labels_are_checked(image_root, tmp_path, kind, labels, reason):
    WRITERS[kind](tmp_path / f"t.{kind}", table(image_root, range(4), labels))
    with pytest.raises(DataError, match=reason):
        open_source(tmp_path / f"t.{kind}", num_classes=3)
    if labels[2] is None:
        assert open_source(tmp_path / f"t.{kind}", labels="optional").labels.tolist() == [0, 1, -1, 2]


def test_labels_of_another_type_are_none(image_root, tmp_path, kind):
    WRITERS[kind](tmp_path / f"t.{kind}", table(image_root, range(2), ["0", "1"]))
    with pytest.raises(DataError, match="2 images have no label"):
        open_source(tmp_path / f"t.{kind}")


def test_rows_without_bytes_are_named_and_paths_not_followed(image_root, tmp_path, kind):
    images = [{"bytes": b"", "path": str(image_root / "00.png")}, {"bytes": None, "path": "/etc/passwd"}, None]
    made = pa.table({"image": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()}))})
    WRITERS[kind](tmp_path / f"t.{kind}", made)
    source = open_source(tmp_path / f"t.{kind}", labels="optional")
    for row in range(3):
        with pytest.raises(DataError, match=rf"row {row}: the row holds no bytes .* not followed"):
            source.read(row)


def test_a_plain_column_of_bytes_is_enough(image_root, tmp_path, kind):
    data = [(image_root / f"{i:02d}.png").read_bytes() for i in range(3)]
    WRITERS[kind](tmp_path / f"t.{kind}", pa.table({"id": [1, 2, 3], "content": data}))
    source = open_source(tmp_path / f"t.{kind}", labels="optional")
    assert [source.read(i) for i in (2, 0, 1)] == [data[i] for i in (2, 0, 1)]
    assert (source.labels == -1).all()


def test_what_is_no_table_of_images_is_named(image_root, tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    WRITERS[kind](path, pa.table({"id": [1, 2]}))
    with pytest.raises(DataError, match=rf"t\.{kind}: no column of encoded images .* among id \(int64\)"):
        open_source(path)
    WRITERS[kind](path, table(image_root, range(2)))
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"no table"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"t\.{kind}: (cannot read the table|the table has no rows|no column)"):
            open_source(path)


def test_without_pyarrow_the_extra_is_named(hub, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r'pip install "mae-data\[parquet\]"'):
        open_source(hub)


def test_threads_may_read_at_the_same_time(hub):
    source = open_source(hub)
    order = [i for _ in range(20) for i in range(20)]
    wanted = [source.read(i) for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, order)) == wanted * 20


def test_large_row_groups_are_mentioned(image_root, tmp_path, monkeypatch):
    from mae_data.sources import table as table_module

    write_parquet(tmp_path / "t.parquet", table(image_root, range(9)))
    assert not open_source(tmp_path / "t.parquet").notes
    monkeypatch.setattr(table_module, "NOTED_FROM_BYTES", 100)
    assert "`mae-data shard` makes shards" in open_source(tmp_path / "t.parquet").notes[0]


def test_tables_become_shards(image_root, hub, tmp_path, kind):
    assert main(["shard", str(hub), str(tmp_path / "s"), "--per-shard", "7", "--workers", "1"]) == 0
    a, b = open_source(hub, num_classes=3), open_source(tmp_path / "s", num_classes=3)
    assert len(b) == 20
    assert [b.read(i) for i in range(20)] == [a.read(i) for i in range(20)]
    assert b.labels.tolist() == a.labels.tolist()
    assert b.path(12) == "train-00001-of-00002/1.png"
    assert len(open_source(tmp_path / "s", "val_list.txt")) == 4
