"""Test sets whose labels are their folders' names: which output of the model each folder stands for."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import ConfigError
from mae_data.errors import DataError
from mae_data.sources.source import Source


def read_class_map(path: str | Path, num_classes: int) -> dict[str, int]:
    """Read `CLASS_FOLDER OUTPUT` lines, such as `n01440764 0`; blank lines and lines that begin with # are skipped.

    Raises:
        ConfigError: the file cannot be read, or a line of it is not of this form.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ROBUST.CLASS_MAP={path} cannot be read: {error}") from None
    outputs: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.strip().rsplit(None, 1)  # a folder's name may hold spaces
        if not words or line.startswith("#"):
            continue
        if len(words) != 2 or not words[1].isdigit() or int(words[1]) >= num_classes or words[0] in outputs:
            raise ConfigError(
                f"{path}:{number}: {line.strip()!r} is not `CLASS_FOLDER OUTPUT` with each folder once"
                f" and an output from 0 to {num_classes - 1} (MODEL.NUM_CLASSES)"
            )
        outputs[words[0]] = int(words[1])
    if not outputs:
        raise ConfigError(f"ROBUST.CLASS_MAP={path} holds no `CLASS_FOLDER OUTPUT` line")
    return outputs


def map_labels(images: Source, outputs: Mapping[str, int]) -> NDArray[np.int64]:
    """Return each image's output, int64 [N], from the folder it lies in.

    Raises:
        DataError: an image's folder is not in the map.
    """
    labels = np.empty(len(images), dtype=np.int64)
    for i in range(len(images)):
        folder = os.path.basename(os.path.dirname(images.path(i)))
        if folder not in outputs:
            raise DataError(f"{images.describe(i)}: its folder {folder!r} is not in ROBUST.CLASS_MAP")
        labels[i] = outputs[folder]
    return labels
