"""Writing a source as tar shards: each whole or not at all, so that a stopped run goes on where it was."""

import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from mae_data.errors import DataError, ImageError, InputError
from mae_data.files import write_atomically, write_whole
from mae_data.images.formats import EXTENSIONS, open_image, open_picture
from mae_data.images.volumes.slices import slice_ending
from mae_data.parallel import map_tasks
from mae_data.sources.list_file import CLASSES
from mae_data.sources.shards import INDEX_ENDING
from mae_data.sources.source import Source
from mae_data.sources.store import is_address
from mae_data.sources.tar_index import LABEL_ENDING, write_tar_index

EIGHT_BIT_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}


@dataclass(frozen=True)
class ShardOptions:
    """How a source is cut into shards and what becomes of its images.

    Attributes:
        per_shard: images in each shard.
        side: pixels that the shorter side of larger images is scaled down to; None keeps every file as it is.
        quality: of the JPEG files that scaled images become.
    """

    per_shard: int = 1000
    side: int | None = None
    quality: int = 95


def write_shards(
    source: Source,
    folder: Path,
    part: str,
    options: ShardOptions,
    *,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[int, int]:
    """Write `PART-000000.tar`, ... and `PART.index`.

    Args:
        source: the images.
        folder: where to.
        part: "train" or "val".
        options: how.
        workers: number of processes.
        force: replace shards that were written from other images or in another way.
        progress: called with the number of shards that are done, and of all.

    Returns:
        numbers of shards and of those that were there already.

    Raises:
        InputError: other shards are there, or the folder cannot be written.
        DataError: an image cannot be read.
    """
    shards = [f"{part}-{number:06d}.tar" for number in range(-(-len(source) // options.per_shard))]
    description = {"source": source.fingerprint(), **asdict(options)}
    _claim(folder, part, (json.dumps(description, indent=1) + "\n").encode(), force)
    missing = [number for number, shard in enumerate(shards) if not (folder / shard).exists()]
    try:
        for done, _ in enumerate(
            map_tasks(partial(_write_shard, source, folder, options, shards), missing, workers), 1
        ):
            progress(len(shards) - len(missing) + done, len(shards))
        write_tar_index(folder, shards, folder / f"{part}{INDEX_ENDING}", workers)
    except OSError as error:
        raise InputError(
            f"cannot write {folder} ({error.strerror}); make room, and run the same command again"
        ) from error
    return len(shards), len(shards) - len(missing)


def _claim(folder: Path, part: str, description: bytes, force: bool) -> None:
    """Record what the shards are made of; refuse, or remove, those that were made of something else."""
    plan = folder / f"{part}.plan.json"
    theirs = [path for path in folder.glob(f"{part}-*.tar") if re.fullmatch(rf"{part}-\d+\.tar", path.name)]
    theirs += [path for path in (folder / f"{part}{INDEX_ENDING}",) if path.exists()]
    if theirs and not (plan.exists() and plan.read_bytes() == description):
        if not force:
            raise InputError(
                f"{folder} has {part} shards of other images or with other options; use --force to replace them"
            )
        for path in theirs:
            path.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder} ({error.strerror})") from error
    write_atomically(plan, description)


def _write_shard(source: Source, folder: Path, options: ShardOptions, shards: list[str], number: int) -> None:
    indices = range(number * options.per_shard, min((number + 1) * options.per_shard, len(source)))
    write_whole(folder / shards[number], lambda file: _fill(file, source, options, indices))


def _fill(file: BinaryIO, source: Source, options: ShardOptions, indices: range) -> None:
    used: set[str] = set()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for index in indices:
            try:
                data, ending = _encode(source.read(index), source.path(index), options)
            except ImageError as error:
                raise DataError(
                    f"{source.describe(index)}: {error.reason}; `mae-data verify` finds all such"
                ) from error
            key = _key(source.path(index))
            if key in used:
                key = f"{key}_{index}"
            used.add(key)
            _add(tar, f"{key}{ending}", data)
            if source.labels[index] >= 0:
                _add(tar, f"{key}.{LABEL_ENDING}", b"%d" % source.labels[index])


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner: the same images make the same shard
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _key(path: str) -> str:
    """Return a path without what WebDataset or a tar file cannot hold: dots in the name, ways out of the folder."""
    *folders, base = [word for word in re.split(r"[/\\]", path) if word not in ("", ".", "..")] or ["image"]
    stem = base if base.endswith("]") else os.path.splitext(base)[0]  # a slice has the name of its file, and its place
    return "/".join([*folders, stem.replace(".", "_") or "image"])


def _encode(data: bytes, path: str, options: ShardOptions) -> tuple[bytes, str]:
    """Return an image's file and its ending, scaled down where the options ask for it and the file is larger."""
    ending = slice_ending(data) if path.endswith("]") else os.path.splitext(path)[1].lower()
    if options.side is None and ending in EXTENSIONS:
        return data, ending
    with _opened(data) as image:
        size, mode, kind = image.size, image.mode, (image.format or "").lower()
    ending = ending if ending in EXTENSIONS else f".{kind}"
    if options.side is None or min(size) <= options.side or mode not in EIGHT_BIT_MODES:
        return data, ending
    scale = options.side / min(size)
    image = open_image(io.BytesIO(data), 1 if mode in ("1", "L", "LA") else 3)
    smaller = image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    smaller.save(buffer, "JPEG", quality=options.quality, subsampling=0)
    return buffer.getvalue(), ".jpg"


def _opened(data: bytes) -> Image.Image:
    try:
        return open_picture(io.BytesIO(data))
    except Exception as error:  # on damaged files Pillow raises nearly anything
        raise ImageError("image", f"cannot decode the image ({error})".splitlines()[0]) from error


def copy_classes(root: str | os.PathLike[str], folder: Path) -> None:
    """Copy the names of the classes, where the data set has them."""
    if not is_address(root) and (Path(root) / CLASSES).exists():
        write_atomically(folder / CLASSES, (Path(root) / CLASSES).read_bytes())
