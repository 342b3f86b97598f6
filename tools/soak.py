"""Does a run grow while it goes on? Memory, descriptors, threads and pace of one that does everything often.

    python tools/soak.py --minutes 30 --output soak

Pre-trains a tiny model on noise with two loader workers; it saves each fifth epoch of 24 steps and looks at held-out
loss, kNN and pictures each tenth. The process and its workers are sampled; memory is their proportional set size, so
that shared pages count once. OUTPUT gets soak.json and soak.png; the exit code is 1 where anything grew by more than a
tenth from the first quarter's median to the last one's, or where SIGTERM at the end did not lead to 143.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import tifffile
from PIL import Image

COMMON: dict[str, object] = {
    "DATA.IMAGE_SIZE": 16, "MODEL.PATCH_SIZE": 4, "MODEL.ENCODER.EMBED_DIM": 32, "MODEL.ENCODER.DEPTH": 2,
    "MODEL.ENCODER.NUM_HEADS": 2, "TRAIN.NUM_EPOCHS": 24, "TRAIN.WARMUP_EPOCHS": 1, "REPORT_FREQ": 1, "SAVE_KEEP": 2,
}  # fmt: skip
PRETRAIN: dict[str, object] = {
    "MODEL.DECODER.EMBED_DIM": 16, "MODEL.DECODER.DEPTH": 1, "MODEL.DECODER.NUM_HEADS": 2
}  # fmt: skip
SETTINGS: dict[str, object] = {
    **COMMON, **PRETRAIN, "DATA.NUM_WORKERS": 2, "TRAIN.NUM_EPOCHS": 10**6, "REPORT_FREQ": 24,
    "SAVE_FREQ": 5, "MONITOR.EVERY": 10,
}  # fmt: skip
GROWTH = 0.1  # of what is measured: pools and caches fill slowly


@dataclass
class Sample:
    """What a run holds at one moment: seconds since its start, and MB, open files and threads of all its processes."""

    seconds: float
    memory_mb: float
    descriptors: int
    threads: int


def write_data(root: Path) -> None:
    """Write 48 training and 12 validation JPEGs of noise, with lists; the same as shards, with masks; and 4 scenes."""
    rng, images = np.random.default_rng(0), root / "images"
    for part, number in (("train", 48), ("val", 12)):
        (images / part).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(images / part / f"{i}.jpg")
        (images / f"{part}_list.txt").write_text("".join(f"{part}/{i}.jpg {i % 3}\n" for i in range(number)))
    command = [sys.executable, "-m", "mae_data", "shard", images, root / "shards"]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    for part, number in (("train", 48), ("val", 12)):
        for kind in ("images", "masks"):
            (root / "masks" / kind / part).mkdir(parents=True)
        for i in range(number):
            mask = np.kron(rng.integers(0, 3, (5, 6), dtype=np.uint8), np.ones((4, 4), np.uint8))
            Image.fromarray(mask).save(root / "masks/masks" / part / f"{i}.png")
            shutil.copy(images / part / f"{i}.jpg", root / "masks/images" / part)
    scenes = root / "scenes"
    scenes.mkdir()
    for i in range(4):  # large enough to be read by windows; a quarter of each holds no data
        scene = rng.integers(1, 256, (2100, 2100, 3), dtype=np.uint8)
        scene[:1050, :1050] = 0
        tifffile.imwrite(scenes / f"{i}.tif", scene, tile=(256, 256), photometric="rgb")


def tree(pid: int) -> list[int]:
    """Return a process and what came of it."""
    found = [pid]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def memory_mb(pid: int) -> float:
    """Return a process's proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def sample(pid: int, started: float) -> Sample | None:
    """Look at a run once; None where a process of it ended meanwhile."""
    try:
        pids = tree(pid)
        files, threads = ([len(os.listdir(f"/proc/{p}/{what}")) for p in pids] for what in ("fd", "task"))
        return Sample(time.monotonic() - started, sum(map(memory_mb, pids)), sum(files), sum(threads))
    except (OSError, StopIteration):
        return None


def run(minutes: float, every: float, data: Path, folder: Path) -> tuple[list[Sample], int]:
    """Train for so long and look each `every` seconds; return what was seen and the exit code after SIGTERM."""
    pairs = [str(word) for pair in SETTINGS.items() for word in pair]
    flags = ["-batch_size", "2", "-data_path", str(data), "-output", str(folder)]
    with Path(f"{folder}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "mae_pretrain", *flags, *pairs], stdout=log, stderr=log)
        started, seen = time.monotonic(), []
        while process.poll() is None and time.monotonic() - started < 60 * minutes:
            time.sleep(every)
            if (folder / "checkpoints").exists() and (now := sample(process.pid, started)):
                seen.append(now)
        process.send_signal(signal.SIGTERM)
        return seen, process.wait(60)


def growth(values: list[float]) -> float:
    """Return the last quarter's median over the first one's, less one."""
    quarter = max(1, len(values) // 4)
    return median(values[-quarter:]) / median(values[:quarter]) - 1


def draw(seen: list[Sample], pace: list[float], file: Path) -> None:
    """Plot what was sampled over minutes, and the pace over the log's lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, figsize=(8, 8), layout="constrained")
    for axis, key in zip(axes, ("memory_mb", "descriptors", "threads"), strict=False):
        axis.plot([s.seconds / 60 for s in seen], [getattr(s, key) for s in seen], linewidth=1)
        axis.set(ylabel={"memory_mb": "memory, MB"}.get(key, key), xlabel="minutes")
    axes[3].plot(pace, linewidth=0.5)
    axes[3].set(ylabel="images/s", xlabel="epoch")
    for axis in axes:
        axis.set_ylim(bottom=0)
    figure.savefig(file, dpi=80)


def main() -> int:
    """Soak and judge; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--output", type=Path, default=Path("soak"))
    args = parser.parse_args()
    shutil.rmtree(args.output, ignore_errors=True)
    write_data(args.output / "data")
    folder = args.output / "run"
    seen, code = run(args.minutes, args.every, args.output / "data/images", folder)
    if len(seen) < 4:
        print(f"only {len(seen)} samples (exit code {code}); see {folder}.log", file=sys.stderr)
        return 1
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    pace = [line["images_per_s"] for line in lines if line["kind"] == "train"]
    grown = {key: growth([getattr(s, key) for s in seen]) for key in ("memory_mb", "descriptors", "threads")}
    record = {"code": code, "epochs": len(pace), "growth": grown, "samples": [asdict(s) for s in seen]}
    (args.output / "soak.json").write_text(json.dumps(record))
    draw(seen, pace, args.output / "soak.png")
    print(f"{len(seen)} samples, {len(pace)} epochs, exit code {code}; grown: {grown}")
    return 0 if code == 143 and max(grown.values()) <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
