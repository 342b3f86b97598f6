"""A small real data set: scikit-learn's handwritten digits as image files."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mae_data.errors import InputError
from mae_data.sources.folders.folder_index import split_class
from mae_data.sources.list_file import CLASSES, TRAIN_LIST, VAL_LIST, Entry, list_text, refuse_existing, write_lists

CLASS_NAMES = tuple(str(digit) for digit in range(10))
BRIGHTEST = 16  # the scans have 17 grey levels
HELD_OUT = 0.25
FILE_PATTERN = "digit_[0-9][0-9][0-9][0-9].jpg"


def make_demo_dataset(target: Path, *, size: int = 32, seed: int = 0, force: bool = False) -> dict[str, int]:
    """Write the digits as greyscale JPEG files with lists, a quarter of each class held out.

    The originals are 1797 scans of 8x8 pixels; they are upscaled, so larger sizes add no detail.

    Args:
        target: folder to write; it is made where it is missing.
        size: side of the pictures in pixels.
        seed: seed of the split.
        force: replace the digits and lists that are in `target` already.

    Returns:
        number of pictures by list: {"train": ..., "val": ...}.

    Raises:
        InputError: scikit-learn is missing, the size is not positive, or `target` has other content.
    """
    if size < 1:
        raise InputError(f"--size {size} is not a number of pixels; use at least 1")
    scans, digits = _load_scans()
    _make_room(target, force)
    entries: dict[str, list[Entry]] = {"train": [], "val": []}
    for digit in range(10):
        names = [b"digit_%04d.jpg" % number for number in np.flatnonzero(digits == digit)]
        kept, held_out = split_class(names, HELD_OUT, seed, digit)
        for part, part_names in (("train", kept), ("val", held_out)):
            entries[part] += _write_pictures(target, f"{part}/{digit}", part_names, scans, size, digit)
    texts = {
        TRAIN_LIST: list_text(entries["train"]),
        VAL_LIST: list_text(entries["val"]),
        CLASSES: "".join(name + "\n" for name in CLASS_NAMES).encode(),
    }
    write_lists(target, texts, force)
    return {part: len(part_entries) for part, part_entries in entries.items()}


def _load_scans() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError('demo-dataset needs scikit-learn; run: pip install "mae-data[demo]"') from None
    digits = load_digits()
    return digits.images, digits.target


def _make_room(target: Path, force: bool) -> None:
    """Check that `target` may be written, and with `force` take away the digits of an earlier call."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a folder")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise InputError(f"{target} is not empty; use --force to replace the digits in it")
    refuse_existing(target, force)
    for part in ("train", "val"):
        for name in CLASS_NAMES:
            for picture in (target / part / name).glob(FILE_PATTERN):
                picture.unlink()


def _write_pictures(
    target: Path, folder: str, names: list[bytes], scans: npt.NDArray[np.float64], size: int, digit: int
) -> list[Entry]:
    try:
        (target / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            scan = scans[int(name[6:10])]
            picture(scan, size).save(target / folder / name.decode(), quality=95)
    except OSError as error:
        raise InputError(f"cannot write {target / folder} ({error.strerror}); check its permissions") from error
    return [(f"{folder}/".encode() + name, digit) for name in names]


def picture(scan: npt.NDArray[np.float64], size: int) -> Image.Image:
    """Turn a scan (float64 [8, 8], 0 to 16) into a greyscale image of `size` x `size` pixels."""
    levels = np.round(scan * (255 / BRIGHTEST)).astype(np.uint8)
    return Image.fromarray(levels).resize((size, size), Image.Resampling.BICUBIC)
