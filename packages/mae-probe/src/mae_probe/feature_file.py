"""Features of a list as a file: .npz or .safetensors, with labels and paths."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mae_core.errors import UserError
from mae_core.files import refuse_unwritable, write_output
from mae_probe.feature_set import Features

SUFFIXES = (".npz", ".safetensors")


def check_suffix(path: Path) -> None:
    """Refuse a file that is neither kind."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"feature file {path} has suffix {path.suffix or 'none'}; use {' or '.join(SUFFIXES)}")


def write_features(path: Path, features: Features) -> None:
    """Write features float32 [N, D], labels int64 [N] and paths; .safetensors has the paths as JSON in its header.

    Raises:
        UserError: another suffix, or the disk refused.
    """
    check_suffix(path)
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, features=features.features, labels=features.labels, paths=np.array(features.paths, np.str_))
        data = buffer.getvalue()
    else:
        data = save(
            {"features": features.features, "labels": features.labels}, metadata={"paths": json.dumps(features.paths)}
        )
    with refuse_unwritable(path):
        write_output(path, data)


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote; nothing in the file is executed.

    Raises:
        UserError: missing, damaged, or something else.
    """
    check_suffix(path)
    try:
        features = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} is no readable feature file ({error}); write one with mae-probe features") from None
    n = len(features.paths)
    sound = features.features.ndim == 2 and features.features.shape[0] == n and features.labels.shape == (n,)
    if not (sound and n and np.isfinite(features.features).all()):
        raise UserError(f"{path} holds no finite features [N, D] with N labels and paths; write it anew")
    return features


def _read_npz(path: Path) -> Features:
    with np.load(path, allow_pickle=False) as file:
        return _features(file["features"], file["labels"], [str(p) for p in file["paths"]])


def _read_safetensors(path: Path) -> Features:
    with safe_open(path, "numpy") as file:
        paths = [str(p) for p in json.loads(file.metadata()["paths"])]
        return _features(file.get_tensor("features"), file.get_tensor("labels"), paths)


def _features(features: np.ndarray, labels: np.ndarray, paths: list[str]) -> Features:
    return Features(features.astype(np.float32, copy=False), labels.astype(np.int64, copy=False), paths)
