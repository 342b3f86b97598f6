"""What tells, without reading images, that they are not those of before."""

import os

import numpy as np
import pytest

from mae_data.sources.open_source import open_source
from mae_data.sources.shard_writer import ShardOptions, write_shards


def write_table(root, value):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = pa.table({"image": [np.full(9, value, np.uint8).tobytes()], "label": [0]})
    parquet.write_table(rows, root / "train.parquet")


def listed(image_root, tmp_path):
    path = next(image_root.glob("**/*.png"))
    return image_root, lambda: path.write_bytes(path.read_bytes()[:-1])


def shards(image_root, tmp_path):
    write_shards(open_source(image_root), tmp_path / "shards", "train", ShardOptions(per_shard=8))
    path = tmp_path / "shards/train-000001.tar"
    times = os.stat(path)
    return tmp_path / "shards", lambda: os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


def table(image_root, tmp_path):
    write_table(tmp_path, 1)
    return tmp_path, lambda: write_table(tmp_path, 2)


@pytest.mark.parametrize("kind", [listed, shards, table])
def test_the_state_follows_the_files(kind, image_root, tmp_path):
    root, change = kind(image_root, tmp_path)
    before, again = open_source(root), open_source(root)
    assert before.state() == again.state()
    state = before.state()
    change()
    assert open_source(root).state() != state
    assert before.state() != state


def test_an_image_that_went_changes_the_state(image_root):
    source = open_source(image_root)
    state = source.state()
    os.unlink(source.file(3))
    assert source.state() != state
