"""Shards behind an address: the same samples, and a store that stalls or dies."""

import importlib.util
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from mae_data.errors import DataError, InputError, StoreError
from mae_data.loading.dataset import ListDataset
from mae_data.sources import store as store_module
from mae_data.sources.open_source import open_parts, open_source
from mae_data.sources.shard_writer import ShardOptions, write_shards
from mae_data.sources.shards import open_shards
from mae_data.sources.store import RemoteStore
from mae_data.transforms.pipelines import make_eval_transform

range_server = importlib.util.spec_from_file_location("range_server", Path(__file__).parent / "range_server.py")
server_module = importlib.util.module_from_spec(range_server)
range_server.loader.exec_module(server_module)

needs_http = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("fsspec", "aiohttp")), reason="needs the extra `remote`"
)
needs_s3 = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("s3fs", "moto", "flask")), reason="needs s3fs and moto[server]"
)
TRANSFORM = make_eval_transform(image_size=8)


@pytest.fixture
def shards(image_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    write_shards(open_source(image_root), tmp_path / "shards", "train", ShardOptions(per_shard=8))
    return tmp_path / "shards"


@pytest.fixture
def server(shards):
    with server_module.serving(shards) as server:
        yield server


def assert_same_samples(root, image_root, **loader):
    from mae_data.loading.loader import make_loader
    from mae_data.loading.sampler import TrainBatchSampler

    near, far = (ListDataset(where, "train_list.txt", TRANSFORM, num_classes=3) for where in (image_root, root))
    sampler = TrainBatchSampler(20, 4, seed=1, num_steps=7, start_step=2)
    batches = [list(make_loader(d, sampler, **loader)) for d in (near, far)]
    assert len(batches[0]) == len(batches[1]) == 5
    for a, b in zip(*batches, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x.numpy(), y.numpy())


@needs_http
@pytest.mark.parametrize("workers", [0, 2])
def test_http_gives_what_the_list_gives(server, image_root, workers):
    assert_same_samples(server.url, image_root, num_workers=workers)


@needs_http
def test_a_batch_is_read_at_the_same_time(server, image_root):
    source = open_shards(server.url, "train.index")
    server.fault, server.latency = "slow", 0.5
    started = time.perf_counter()
    source.fetch(range(16))
    assert time.perf_counter() - started < 16 * 0.5 / 2
    server.fault = "error"  # what was fetched is not asked for again
    assert source.read(5) == (image_root / "05.png").read_bytes()
    source._store.timeout = 0.1
    source.fetch([7])
    with pytest.raises(StoreError, match=r"no answer within 0\.1 seconds"):
        source.read(7)
    with pytest.raises(StoreError):  # each entry is fetched for one read
        source.read(5)


@needs_http
def test_the_index_is_fetched_once_for_each_state(server, shards):
    for _ in range(2):
        source = pickle.loads(pickle.dumps(open_shards(server.url, "train.index")))
        assert source.fingerprint() == open_source(shards).fingerprint()
    assert list(open_parts(server.url)) == ["train"]
    gets = len(server.asked)
    os.utime(shards / "train.index", (1, 1))
    open_shards(server.url, "train.index")
    assert len(server.asked) > gets


@needs_http
@pytest.mark.parametrize("fault", ["cut", "error"])
def test_what_fails_is_tried_again(server, image_root, fault, monkeypatch):
    monkeypatch.setattr(store_module, "FIRST_PAUSE", 0.01)
    source = open_shards(server.url, "train.index")
    server.fault, server.failures = fault, 3
    assert source.read(5) == (image_root / "05.png").read_bytes()
    assert not server.failures


@needs_http
@pytest.mark.parametrize(
    ("fault", "reason"), [("stall", "it gave no answer for 0.333 seconds"), ("error", ""), ("cut", "")]
)
def test_a_store_that_stalls_or_dies_is_named_in_time_and_not_skipped(server, image_root, fault, reason):
    dataset = ListDataset(server.url, "train_list.txt", TRANSFORM, on_error="skip")
    dataset.images._store.timeout = 1
    server.fault = fault
    started = time.perf_counter()
    with pytest.raises(StoreError, match=rf"train-000000\.tar: no answer within 1 seconds and \d+ tries .*{reason}"):
        dataset[0]
    assert time.perf_counter() - started < 8  # a stalled answer takes 20 seconds


@needs_http
def test_a_server_that_goes_away_is_named_by_the_loader(server):
    from mae_data.loading.loader import make_loader
    from mae_data.loading.sampler import TrainBatchSampler

    dataset = ListDataset(server.url, "train_list.txt", TRANSFORM)
    dataset.images._store.timeout = 1
    batches = iter(make_loader(dataset, TrainBatchSampler(20, 4, seed=1, num_steps=50), num_workers=2))
    next(batches)
    server.fault = "error"
    with pytest.raises(DataError, match=r"no answer within 1 seconds"):
        list(batches)


@needs_http
def test_what_will_never_work_is_said_at_once(server, shards):
    started = time.perf_counter()
    with pytest.raises(StoreError, match=r"val\.index: .*no such file"):
        open_source(server.url, "val_list.txt")
    with pytest.raises(DataError, match=r"has no list few\.txt; use train_list\.txt"):
        open_source(server.url, "few.txt")
    source = open_shards(server.url, "train.index")
    server.fault = "whole"
    with pytest.raises(StoreError, match="sends the whole file"):
        source.read(0)
    assert time.perf_counter() - started < 30  # trying again would take a minute


@needs_http
def test_a_server_that_is_down_is_no_missing_file(server):
    store = RemoteStore(server.url, timeout=0.5)
    server.shutdown()
    server.server_close()
    for ask in (lambda: store.state("train.index"), lambda: store.read("train.index", 0, 8)):
        with pytest.raises(StoreError, match=r"no answer within 0\.5 seconds and \d+ tries"):
            ask()


def test_an_address_that_nothing_knows_is_named():
    with pytest.raises(InputError, match=r"mae-data\[remote\]"):
        RemoteStore("nowhere://bucket/x")


@needs_s3
def test_s3_gives_what_the_list_gives(shards, image_root, monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            monkeypatch.setenv(name, value)
        import s3fs

        files = s3fs.S3FileSystem(skip_instance_cache=True)
        files.mkdir("photos")
        for path in shards.iterdir():
            files.put_file(str(path), f"photos/set/{path.name}")
        for workers in (0, 2):
            assert_same_samples("s3://photos/set", image_root, num_workers=workers)
        with pytest.raises(StoreError, match=r"val\.index: .*no such file"):
            open_source("s3://photos/set", "val_list.txt")
    finally:
        server.stop()
