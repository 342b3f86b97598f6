"""How long one encoded image takes to read, from each kind of source, in random order and with a warm cache.

    python packages/mae-data/benchmarks/source_reads.py [IMAGES]

The images are blurred noise of 500x375 as JPEG of about 60 KB. http is a server on this machine, whose answers are
delayed by 20 ms to stand for a store far away; `batch` reads 64 images at the same time.
"""

import importlib.util
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mae_data.sources.open_source import open_source
from mae_data.sources.shard_writer import ShardOptions, write_shards
from mae_data.sources.source import Source

LATENCY = 0.02
BATCH = 64


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jpegs = write_images(folder / "list", count)
        sources = {"list": open_source(folder / "list")}
        write_shards(sources["list"], folder / "shards", "train", ShardOptions())
        sources["tar shards"] = open_source(folder / "shards")
        if importlib.util.find_spec("pyarrow"):
            sources |= {
                f"Parquet, {n} rows per group": write_parquet(folder / f"{n}.parquet", jpegs, n) for n in (1, 100, 1000)
            }
            sources["datasets, saved"] = write_arrow(folder / "saved.arrow", jpegs)
        for kind, source in sources.items():
            print(f"{kind:26} {read_ms(source, 200 if 'Parquet' in kind else count):8.3f} ms per image")
        server_module = load_server()
        with server_module.serving(folder / "shards") as server:
            source = open_source(server.url)
            server.fault, server.latency = "slow", LATENCY
            print(f"{'http, one by one':26} {read_ms(source, 100):8.3f} ms per image")
            started = time.perf_counter()
            for start in range(0, 4 * BATCH, BATCH):
                source.fetch(range(start, start + BATCH))
            print(f"{'http, batch':26} {(time.perf_counter() - started) * 1e3 / (4 * BATCH):8.3f} ms per image")


def read_ms(source: Source, count: int) -> float:
    order = np.random.default_rng(0).permutation(len(source))[:count].tolist()
    for index in order:  # warm
        source.read(index)
    started = time.perf_counter()
    for index in order:
        source.read(index)
    return (time.perf_counter() - started) * 1e3 / len(order)


def write_images(folder: Path, count: int) -> list[bytes]:
    folder.mkdir()
    rng, jpegs = np.random.default_rng(0), []
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        jpegs.append(buffer.getvalue())
        (folder / f"{i:06d}.jpg").write_bytes(jpegs[-1])
    (folder / "train_list.txt").write_text("".join(f"{i:06d}.jpg {i % 10}\n" for i in range(count)))
    return jpegs


def write_parquet(path: Path, jpegs: list[bytes], rows: int) -> Source:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"image": [{"bytes": data} for data in jpegs]}), path, row_group_size=rows)
    return open_source(path, labels="optional")


def write_arrow(path: Path, jpegs: list[bytes]) -> Source:
    import pyarrow as pa

    table = pa.table({"image": [{"bytes": data} for data in jpegs]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    return open_source(path, labels="optional")


def load_server():
    spec = importlib.util.spec_from_file_location(
        "range_server", Path(__file__).parent.parent / "tests" / "range_server.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
