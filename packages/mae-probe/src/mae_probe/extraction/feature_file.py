"""Features of a list as a file: with labels and paths, in one of FORMATS; nothing in a file is executed."""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mae_core.errors import UserError
from mae_core.files import prepare_output, refuse_unwritable, write_output
from mae_probe.extraction.feature_set import Features
from mae_probe.extraction.feature_tables import csv_bytes, parquet_bytes, read_csv, read_parquet, require_pyarrow

Arrays = dict[str, Any]  # NumPy arrays by name; np.savez has a flag among them for type checkers
TOKEN_SUFFIXES = (".npz", ".safetensors", ".parquet")


def prepare_file(path: Path) -> None:
    """Refuse, before the work, a file of another kind or in a folder that cannot be written.

    Raises:
        UserError: the file or its folder is of no use, or pyarrow is missing for .parquet.
    """
    check_suffix(path)
    if path.suffix == ".parquet":
        require_pyarrow()
    prepare_output(path)


def check_suffix(path: Path) -> None:
    """Refuse a file that is of none of FORMATS."""
    _require_suffix("feature", path, tuple(FORMATS))


def _require_suffix(kind: str, path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix not in suffixes:
        *others, last = suffixes
        raise UserError(f"{kind} file {path} has suffix {path.suffix or 'none'}; use {', '.join(others)} or {last}")


def write_features(path: Path, features: Features) -> None:
    """Write features float32 [N, D], labels int64 [N] and paths; of windows also int64 [N, 4], where they lie.

    | suffix         | holds                                                                              |
    |----------------|------------------------------------------------------------------------------------|
    | `.npz`         | arrays `features`, `labels`, `paths`, `windows`                                    |
    | `.safetensors` | `features`, `labels`, `windows`, and the paths as JSON in the header               |
    | `.csv`         | columns `path`, `label`, `row` to `width`, `f0`, `f1`, ...; 9 digits, which are exact |
    | `.parquet`     | columns `path`, `label`, `row` to `width`, `features` (lists of D); needs pyarrow   |

    Raises:
        UserError: another suffix, or the disk refused.
    """
    check_suffix(path)
    data = FORMATS[path.suffix].write(features)
    with refuse_unwritable(path):
        write_output(path, data)


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote.

    Raises:
        UserError: missing, damaged, or something else.
    """
    check_suffix(path)
    try:
        features = FORMATS[path.suffix].read(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} is no readable feature file ({error}); write one with mae-probe features") from None
    n = len(features.paths)
    sound = features.features.ndim == 2 and features.features.shape[0] == n and features.labels.shape == (n,)
    sound = sound and (features.windows is None or features.windows.shape == (n, 4))
    if not (sound and n and np.isfinite(features.features).all()):
        raise UserError(f"{path} holds no finite features [N, D] with N labels and paths; write it anew")
    return features


def prepare_token_file(path: Path) -> None:
    """Refuse, before the work, a file that tokens cannot be written to.

    Raises:
        UserError: the file or its folder is of no use.
    """
    _require_suffix("token", path, TOKEN_SUFFIXES)
    prepare_file(path)


def write_tokens(path: Path, tokens: Features, grid: tuple[int, int], block: int) -> None:
    """Write patch tokens float16 [N, L, D] as `tokens`, with `grid` and `block`, labels and paths.

    Args:
        path: .npz; .safetensors, paths as JSON in the header; .parquet, grid and block in the schema's metadata.
        tokens: of images, row by row on the grid.
        grid: rows and columns of patches, L in all.
        block: number from 0 of the block behind which they stand.

    Raises:
        UserError: a number is beyond what float16 holds, or the disk refused.
    """
    if not np.isfinite(tokens.features).all():
        raise UserError(f"{path}: some tokens are not finite in float16, which ends at 65504; choose another --block")
    if path.suffix == ".parquet":
        data = parquet_bytes(tokens, "tokens", {"grid": json.dumps(grid), "block": json.dumps(block)})
    else:
        arrays = _arrays(tokens)
        arrays = {"tokens": arrays.pop("features"), "grid": np.array(grid), "block": np.array([block]), **arrays}
        data = _PACK[path.suffix](arrays, tokens.paths)
    with refuse_unwritable(path):
        write_output(path, data)


def _pack_npz(arrays: Arrays, paths: list[str]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, paths=np.array(paths, np.str_))
    return buffer.getvalue()


def _read_npz(path: Path) -> Features:
    with np.load(path, allow_pickle=False) as file:
        windows = file["windows"] if "windows" in file.files else None
        return _features(file["features"], file["labels"], [str(p) for p in file["paths"]], windows)


def _pack_safetensors(arrays: Arrays, paths: list[str]) -> bytes:
    return bytes(save(arrays, metadata={"paths": json.dumps(paths)}))


def _arrays(features: Features) -> Arrays:
    arrays: Arrays = {"features": features.features, "labels": features.labels}
    return arrays if features.windows is None else arrays | {"windows": features.windows}


def _read_safetensors(path: Path) -> Features:
    with safe_open(path, "numpy") as file:
        paths = [str(p) for p in json.loads(file.metadata()["paths"])]
        windows = file.get_tensor("windows") if "windows" in file.keys() else None  # noqa: SIM118 - it is no dict
        return _features(file.get_tensor("features"), file.get_tensor("labels"), paths, windows)


def _features(features: np.ndarray, labels: np.ndarray, paths: list[str], windows: np.ndarray | None) -> Features:
    windows = None if windows is None else windows.astype(np.int64, copy=False)
    return Features(features.astype(np.float32, copy=False), labels.astype(np.int64, copy=False), paths, windows)


class Format(NamedTuple):
    """How features become bytes, and come back from a file."""

    write: Callable[[Features], bytes]
    read: Callable[[Path], Features]


FORMATS = {
    ".npz": Format(lambda features: _pack_npz(_arrays(features), features.paths), _read_npz),
    ".safetensors": Format(lambda features: _pack_safetensors(_arrays(features), features.paths), _read_safetensors),
    ".csv": Format(csv_bytes, read_csv),
    ".parquet": Format(parquet_bytes, read_parquet),
}
_PACK: dict[str, Callable[[Arrays, list[str]], bytes]] = {".npz": _pack_npz, ".safetensors": _pack_safetensors}
