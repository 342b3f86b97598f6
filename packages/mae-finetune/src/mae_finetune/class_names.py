"""The names of a classifier's outputs: where they come from when it is trained, and afterwards."""

import os
from collections import Counter
from pathlib import Path

import numpy as np

from mae_core.errors import ConfigError
from mae_core.models import VisionTransformer
from mae_core.process import log
from mae_core.stage.config.node import Config
from mae_data.sources.list_file import read_classes
from mae_data.sources.source import Source
from mae_finetune.robustness import read_class_map

_LOOKED_AT = 4096  # images whose folders must agree before these name classes


def training_names(config: Config, images: Source) -> list[str] | None:
    """Name the classes of a run: by DATA.CLASS_NAMES, else by classes.txt in the data folder, else by class folders.

    Returns:
        a name for each output; None where some are not known.

    Raises:
        ConfigError: DATA.CLASS_NAMES cannot be read, or does not fit MODEL.NUM_CLASSES.
    """
    return listed_names(config) or _folder_names(images, config.MODEL.NUM_CLASSES)


def listed_names(config: Config) -> list[str] | None:
    """Name the outputs by DATA.CLASS_NAMES, else by classes.txt in the data folder; None where neither does.

    Raises:
        ConfigError: DATA.CLASS_NAMES cannot be read, or does not fit MODEL.NUM_CLASSES.
    """
    if config.DATA.CLASS_NAMES:
        return _read_names(_find(config), config.MODEL.NUM_CLASSES)
    names = read_classes(config.DATA.DATA_PATH)
    return names if len(names) == config.MODEL.NUM_CLASSES else None


def names_of(config: Config, model: VisionTransformer) -> list[str | None] | None:
    """Name the outputs of a trained model.

    Names come from ROBUST.CLASS_MAP; from the file DATA.CLASS_NAMES, where it is there; from the weights; or, as those
    of older versions hold none, from classes.txt in the data folder.

    Returns:
        a name for each output, None for one that the map leaves out; None where no names are known.

    Raises:
        ConfigError: DATA.CLASS_NAMES is not there and the weights hold no names, or a file does not fit.
    """
    count = config.MODEL.NUM_CLASSES
    if config.ROBUST.CLASS_MAP:
        folders = {output: folder for folder, output in read_class_map(config.ROBUST.CLASS_MAP, count).items()}
        return [folders.get(output) for output in range(count)]
    if config.DATA.CLASS_NAMES:
        file = _find(config)
        if file.is_file() or not model.class_names:
            return [*_read_names(file, count)]
        log.LOGGER.info(f"DATA.CLASS_NAMES={config.DATA.CLASS_NAMES} is not here: the classes' names are the weights'")
    names = model.class_names or listed_names(config)
    return [*names] if names else None


def known_names(config: Config, model: VisionTransformer) -> list[str]:
    """Name all outputs of a trained model; those without names by their numbers, with a warning."""
    known = names_of(config, model)
    if known is None:
        log.LOGGER.warning("no names of the classes are known: they are numbers; --class-names FILE names them")
    known = known or [None] * config.MODEL.NUM_CLASSES
    return [str(i) if name is None else name for i, name in enumerate(known)]


def _find(config: Config) -> Path:
    """Prefer the file below the data folder, as for lists."""
    below = Path(config.DATA.DATA_PATH) / config.DATA.CLASS_NAMES
    return below if below.is_file() else Path(config.DATA.CLASS_NAMES)


def _read_names(file: Path, count: int) -> list[str]:
    """Read a name a line."""
    try:
        names = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"DATA.CLASS_NAMES={file} cannot be read: {error}") from None
    names = [name.strip() for name in names]
    if len(names) != count or not all(names):
        raise ConfigError(
            f"DATA.CLASS_NAMES={file} has {sum(map(bool, names))} names, MODEL.NUM_CLASSES={count}; write one name a"
            " line, the first for class 0"
        )
    return names


def _folder_names(images: Source, count: int) -> list[str] | None:
    """Take the folders' names where each class has one folder of its own; None where any class has not."""
    folders = images.class_folders()
    names = [folders.get(c, "") for c in range(count)]
    if not all(names) or len(set(names)) < count:
        return None
    if not os.path.dirname(images.path(0)):
        return names  # a table names its classes itself
    places = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(int))
    seen = Counter((int(images.labels[i]), os.path.basename(os.path.dirname(images.path(int(i))))) for i in places)
    return names if all(names[label] == folder for label, folder in seen) else None
