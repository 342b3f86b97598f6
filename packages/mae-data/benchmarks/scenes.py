"""How many native crops a second of CPU time come from a large scene, and how much memory that takes.

    python packages/mae-data/benchmarks/scenes.py [SIDE [FOLDER]]

Writes a scene of SIDE x SIDE pixels (8000), 4 bands of uint16, in each layout (up to 512 MB), and reads crops of 224
at random places through `ListDataset`, with flips, in a process of its own for each: opened anew for each crop, from a
file that stays open (DATA.CROPS), and filled where there are no data. `whole` reads all of it, averaged to 224 pixels.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from mae_data.loading.dataset import ListDataset
from mae_data.transforms.native_crop import make_native_transform
from mae_data.transforms.pipelines import make_eval_transform

CROPS = 300
TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256}
LAYOUTS = {
    "tiled": TILED,
    "tiled, deflate": {**TILED, "compress": "deflate", "predictor": 2},
    "tiled, lzw": {**TILED, "compress": "lzw", "predictor": 2},
    "strips of 16 rows": {"tiled": False, "blockysize": 16},
}


def write_scene(path: Path, side: int, **layout: object) -> None:
    """Write smooth shapes with noise, part by part."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:2048, :2048]
    shapes = np.stack([(np.sin(x / (30 + 7 * b)) + np.cos(y / (50 + 5 * b)) + 2) * 2500 for b in range(4)])
    kind = {"driver": "GTiff", "height": side, "width": side, "count": 4, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", **kind, **layout) as file:
        for top in range(0, side, 2048):
            for left in range(0, side, 2048):
                rows, columns = min(2048, side - top), min(2048, side - left)
                part = shapes[:, :rows, :columns] + rng.normal(0, 60, (4, rows, columns))
                file.write(part.clip(1, 65535).astype(np.uint16), window=Window(left, top, columns, rows))


def measure(folder: Path, what: str) -> None:
    """Print crops per second of CPU time and the largest resident memory of this process."""
    whole = what == "whole"
    transform = make_eval_transform(image_size=224) if whole else make_native_transform(image_size=224)
    nodata = {"nodata": "file", "mean": [0.05] * 4, "coverage": True} if what == "no data" else {}
    count = 1 if whole else CROPS
    options = {"channels": 4, "value_range": 65535, "labels": "optional", "crops": count}
    dataset = ListDataset(folder, "list.txt", transform, **options, **nodata)
    started, before = time.process_time(), time.perf_counter()
    for i in range(count):
        if what == "opened anew":
            dataset = ListDataset(folder, "list.txt", transform, **options)
        dataset[(1, i)]
    cpu, wall = time.process_time() - started, time.perf_counter() - before
    resident = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(f"{count / cpu:8.1f} a CPU-s, {count / wall:8.1f} a second, {resident:5.0f} MB")


def main() -> None:
    if len(sys.argv) > 3:
        measure(Path(sys.argv[2]), sys.argv[3])
        return
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        folder = Path(name)
        (folder / "list.txt").write_text("scene.tif\n")
        for layout, options in LAYOUTS.items():
            write_scene(folder / "scene.tif", side, **options)
            for what in ("stays open", "opened anew", "no data", "whole"):
                print(f"{layout:18} {what:12}", end=" ", flush=True)
                subprocess.run([sys.executable, __file__, str(side), name, what], check=True)


if __name__ == "__main__":
    main()
