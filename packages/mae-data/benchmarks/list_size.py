"""How lists of 10,000 to 14 million lines open: first build, cached index, first batch, memory shared by workers.

    python packages/mae-data/benchmarks/list_size.py [LINES ...]

Each figure is of a fresh process, wall time in seconds. Memory is what the process and its forked workers hold
together once all have read random entries (proportional set size, MB), beside the same without a list.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 14_000_000)
WORKERS = 8
BATCH = 4096


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    print("lines       MB in list  first build s (peak MB)   open s  first batch s  9 processes MB")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAE_DATA_CACHE"] = f"{folder}/cache"
        bare = measure("memory")["pss"]
        for size in sizes:
            file = write_list(Path(folder) / f"{size}.txt", size)
            built, opened, memory = (measure(*words, file) for words in (["open"], ["open"], ["memory"]))
            print(
                f"{size:<11,} {file.stat().st_size / 1e6:<11.1f} {built['open']:<5.2f} ({built['peak']:.0f})"
                f"{'':13} {opened['open']:<7.3f} {opened['batch']:<14.3f} {memory['pss'] - bare:.0f}",
                flush=True,
            )
            file.unlink()


def write_list(path: Path, size: int) -> Path:
    with path.open("w") as file:
        for i in range(size):
            file.write(f"n{i % 21841:08d}/n{i % 21841:08d}_{i}.JPEG {i % 21841}\n")
    os.utime(path, (time.time() - 60,) * 2)  # as a list that was not written just now
    return path


def measure(what: str, *files: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", what, *map(str, files)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def measured(what: str, files: list[str]) -> dict[str, float]:
    from mae_data.loading.sampler import TrainBatchSampler
    from mae_data.sources.image_list import read_list

    started = time.perf_counter()
    images = [read_list(file) for file in files]
    found = {"open": time.perf_counter() - started}
    if what == "memory":
        return {"pss": memory_with_workers(images)}
    started = time.perf_counter()
    sampler = TrainBatchSampler(len(images[0]), BATCH, seed=0, start_step=len(images[0]) // BATCH // 2, num_steps=10**9)
    names = [images[0].path(index) for _, index in next(iter(sampler))]
    assert len(names) == BATCH
    return found | {"batch": time.perf_counter() - started, "peak": status("VmHWM") / 1e3}


def memory_with_workers(images: list) -> float:
    """Sum up what this process and forked ones hold, each page shared out among those that have it."""
    ready, go = os.pipe(), os.pipe()
    pids = [fork_reader(images, ready, go, seed) for seed in range(WORKERS)]
    for _ in pids:
        os.read(ready[0], 1)
    total = sum(pss(pid) for pid in (os.getpid(), *pids))
    os.write(go[1], b"." * WORKERS)
    for pid in pids:
        os.waitpid(pid, 0)
    return total


def fork_reader(images: list, ready: tuple[int, int], go: tuple[int, int], seed: int) -> int:
    if pid := os.fork():
        return pid
    for source in images:
        for index in np.random.default_rng(seed).integers(0, len(source), 100_000).tolist():
            source.describe(index)
            source.labels[index]
    os.write(ready[1], b".")
    os.read(go[0], 1)
    os._exit(0)


def pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measured(sys.argv[2], sys.argv[3:])))
    else:
        main()
