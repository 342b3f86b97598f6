"""Features that are kept between commands: a list is encoded once for each state of images, weights and settings.

runs/pets/features/5f0c...-9b1d....safetensors      a feature file; its name is the key of what it was made of and the
                                                   beginning of its own SHA-256
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mae_core.errors import UserError
from mae_core.files import sha256, write_atomic
from mae_core.process import log
from mae_data.sources.cache import index_cache_folder
from mae_probe.extraction.feature_file import FORMATS, read_features
from mae_probe.extraction.feature_set import Features

FOLDER = "features"
MOST = 8 << 30  # bytes in one folder; beyond, the files that were not used for longest go
_SUFFIX = ".safetensors"
_DIGITS = 32  # of a hash


def folder_for(weights: str | None) -> Path:
    """Return where features of weights are kept: in their run, else in the cache of indexes.

    Args:
        weights: what the user named: a run, or a checkpoint or weight file in one, or something else.
    """
    path = Path(weights or "").resolve()
    for run in (path, *path.parents) if weights else ():
        if (run / "checkpoints").is_dir() and (path == run or run / "checkpoints" in path.parents):
            return run / FOLDER
    return index_cache_folder() / FOLDER


def key_of(facts: Mapping[str, object]) -> str:
    """Return the key of what features are made of."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]


def find_features(folder: Path, key: str) -> Features | None:
    """Return the features of a key; None where there are none, or the file is damaged, which then goes."""
    for path in folder.glob(f"{key}-*{_SUFFIX}"):
        try:
            if sha256(path)[:_DIGITS] == path.stem.partition("-")[2]:
                features = read_features(path)
                with suppress(OSError):  # others' runs can be read, too
                    path.touch()
                return features
        except (OSError, UserError):
            pass
        with suppress(OSError):
            path.unlink()
    return None


def keep_features(folder: Path, key: str, features: Features) -> bool:
    """Write features under a key, whole or not at all; False where there is no room for them."""
    data = FORMATS[_SUFFIX].write(features)
    if len(data) > MOST:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, len(data))
        write_atomic(folder / f"{key}-{hashlib.sha256(data).hexdigest()[:_DIGITS]}{_SUFFIX}", data)
    except OSError as error:
        log.LOGGER.warning(f"no features are kept in {folder} ({error.strerror}): they are encoded anew the next time")
        return False
    return True


def _make_room(folder: Path, needed: int) -> None:
    """Delete the features that were not used for longest until `needed` bytes more fit."""
    kept = [(path.stat().st_mtime_ns, path.stat().st_size, path) for path in folder.glob(f"*{_SUFFIX}")]
    room = MOST - sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if room >= needed:
            return
        path.unlink(missing_ok=True)
        room += size
