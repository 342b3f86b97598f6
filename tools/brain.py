"""Brain: axial slices of a human T1 brain, with a mask of the region of each pixel by the AAL atlas.

One subject, so what is scored is a slab of neighbouring slices, apart from the others by slices that are left out: a
slice beside a training slice looks like it. Left and right of a region are one class, as pictures may be flipped.

    apt install mricron-data
    pip install nibabel
    python tools/brain.py brain /usr/share/mricron/templates
    mae-probe segment -data_path brain ...
"""

import argparse
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SLAB, GAP = 20, 4  # slices that are scored, and that are left out on each side of them
SIZE = 192, 224  # pixels; slices of 181x217 are padded


def main() -> int:
    """Write slices, masks and the names of the regions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write, which must not exist")
    parser.add_argument("templates", type=Path, help="folder with ch2bet.nii.gz, aal.nii.gz and aal.nii.txt")
    parser.add_argument("--first", type=int, default=70, help="first slice of the slab that is scored (default 70)")
    args = parser.parse_args()
    if args.output.exists():
        parser.error(f"{args.output} exists; name a new folder")
    files = [args.templates / name for name in ("ch2bet.nii.gz", "aal.nii.gz", "aal.nii.txt")]
    if missing := [str(file) for file in files if not file.is_file()]:
        parser.error(f"{', '.join(missing)} missing; Debian's mricron-data has them")
    brain, atlas = (np.asarray(nibabel.nifti1.Nifti1Image.from_filename(file).dataobj) for file in files[:2])
    names, classes = read_regions(files[2])
    regions, bright = classes[atlas], (brain / brain.max() * 255).round().astype(np.uint8)
    inside = np.flatnonzero(regions.any(axis=(0, 1)))
    scored = np.abs(inside - (args.first + (SLAB - 1) / 2))  # distance from the middle of the slab
    parts = {"train": inside[scored > SLAB / 2 + GAP], "val": inside[scored < SLAB / 2]}
    for part, slices in parts.items():
        for number in slices.tolist():
            for kind, volume in (("images", bright), ("masks", regions)):
                file = args.output / kind / part / f"{number:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(padded(volume[..., number])).save(file)
    (args.output / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    print(f"{args.output}: {len(parts['train'])} slices to train, {len(parts['val'])} to score, {len(names)} classes")
    return 0


def read_regions(file: Path) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the names of the classes, none first, and the class of each number of the atlas.

    Args:
        file: lines of number, name and code, names ending in _L or _R where a region is in both halves.
    """
    names, classes = ["none"], np.zeros(256, np.uint8)
    for line in filter(str.strip, file.read_text(encoding="utf-8").splitlines()):
        number, region, *_ = line.split()
        name = region.removesuffix("_L").removesuffix("_R")
        if name not in names:
            names.append(name)
        classes[int(number)] = names.index(name)
    return names, classes


def padded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put pixels in the middle of zeros."""
    canvas = np.zeros(SIZE, np.uint8)
    top, left = ((whole - part) // 2 for whole, part in zip(SIZE, pixels.shape, strict=True))
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


if __name__ == "__main__":
    raise SystemExit(main())
