"""Garments: pictures of Fashion-MNIST pasted on grey canvases, with a mask of the class of each pixel.

A small set for segmentation: 64x64 pixels, one to four garments of 28x28 a canvas, where they overlap the later one in
front, on a ground of smooth grey noise. Training canvases have garments of the training part alone, validation those of
the test part. The same files and seed give the same pictures.

    apt install dataset-fashion-mnist
    python tools/garments.py garments /usr/share/datasets/fashion-mnist
    mae-probe segment -data_path garments ...
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, GARMENT = 64, 28  # pixels
MOST = 4  # garments on a canvas
GROUND = 96  # brightest grey of the ground
INK = 8  # darker pixels of a garment's picture are not part of it
CLASSES = {
    "ground": "#202020", "t-shirt": "#e6194b", "trousers": "#3cb44b", "pullover": "#ffe119", "dress": "#4363d8",
    "coat": "#f58231", "sandal": "#911eb4", "shirt": "#42d4f4", "sneaker": "#f032e6", "bag": "#bfef45",
    "boot": "#9a6324",
}  # fmt: skip
PARTS = {"train": "train", "val": "t10k"}  # names in Fashion-MNIST


def main() -> int:
    """Write images, masks and the names of the classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write, which must not exist")
    parser.add_argument("fashion", type=Path, help="folder of Fashion-MNIST's four idx files")
    parser.add_argument("--train", type=int, default=3000, help="canvases to train (default 3000)")
    parser.add_argument("--val", type=int, default=500, help="canvases to score (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="draws grounds, garments and places")
    args = parser.parse_args()
    if args.output.exists():
        parser.error(f"{args.output} exists; name a new folder")
    for number, (part, name) in enumerate(PARTS.items()):
        files = [args.fashion / f"{name}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
        if missing := [str(file) for file in files if not file.is_file()]:
            parser.error(f"{', '.join(missing)} missing; Debian's dataset-fashion-mnist has them")
        garments, labels = read_idx(files[0]), read_idx(files[1])
        rng = np.random.Generator(np.random.PCG64([args.seed, number]))
        for canvas in range(getattr(args, part)):
            write_pair(args.output, f"{part}/{canvas:05d}.png", *draw_canvas(garments, labels, rng))
    lines = "".join(f"{name} {colour}\n" for name, colour in CLASSES.items())
    (args.output / "classes.txt").write_text(lines, encoding="utf-8")
    print(f"{args.output}: {args.train} canvases to train, {args.val} to score, {len(CLASSES)} classes")
    return 0


def read_idx(file: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes, gzipped where its name says so."""
    raw = file.read_bytes()
    raw = gzip.decompress(raw) if file.suffix == ".gz" else raw
    shape = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def draw_canvas(
    garments: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a canvas and its mask, both uint8 [SIDE, SIDE]; class 0 is the ground, a garment's its label + 1."""
    coarse = Image.fromarray((rng.random((5, 5)) * GROUND).astype(np.uint8))
    canvas = np.array(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    mask = np.zeros_like(canvas)
    for _ in range(1 + int(rng.random() * MOST)):
        number = int(rng.random() * len(labels))
        top, left = (int(rng.random() * (SIDE - GARMENT + 1)) for _ in range(2))
        window = slice(top, top + GARMENT), slice(left, left + GARMENT)
        inside = garments[number] >= INK
        canvas[window][inside] = garments[number][inside]
        mask[window][inside] = labels[number] + 1
    return canvas, mask


def write_pair(folder: Path, name: str, canvas: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Write `images/name` in grey and `masks/name` with a palette."""
    painted = Image.fromarray(mask, "P")
    painted.putpalette(b"".join(bytes.fromhex(colour[1:]) for colour in CLASSES.values()))
    for kind, picture in (("images", Image.fromarray(canvas)), ("masks", painted)):
        file = folder / kind / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)


if __name__ == "__main__":
    raise SystemExit(main())
