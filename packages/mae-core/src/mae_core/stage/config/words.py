"""Words of a command line that were meant as `KEY VALUE` pairs and are none: what to write instead."""

import os
import shlex
from collections.abc import Container, Sequence
from pathlib import Path

from mae_core.errors import ConfigError
from mae_core.weights.checkpoint_state import STATE
from mae_core.weights.sources import SUFFIXES


def require_pairs(words: Sequence[str], keys: Container[str], groups: Container[str]) -> None:
    """Require words to be pairs; whether each key is known is not asked.

    Args:
        keys: every dotted key.
        groups: the first part of each.

    Raises:
        ConfigError: `KEY=VALUE`, a path without its flag, or a word too many.
    """
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in keys:
            raise ConfigError(f"{word!r} is one word; write key and value apart: {key} {shlex.quote(value)}")
    if paths := _paths(words, groups):
        names = ", ".join(map(repr, paths))
        flags = " ".join(f"{_flag_of(Path(path))} {shlex.quote(path)}" for path in paths)
        raise ConfigError(f"{names}: a path needs a flag before it, perhaps {flags}")
    if len(words) % 2:
        raise ConfigError(f"{' '.join(words)!r} is not a sequence of KEY VALUE pairs: {words[-1]!r} is left over")


def _paths(words: Sequence[str], groups: Container[str]) -> list[str]:
    """Return the files and folders that stand where keys should, up to a word that is nothing known."""
    paths, place = [], 0
    while place < len(words):
        if words[place].partition(".")[0] in groups:
            place += 2
        elif os.path.exists(words[place]):
            paths.append(words[place])
            place += 1
        else:
            break
    return paths


def _flag_of(path: Path) -> str:
    """Return the flag that most likely takes a path."""
    if path.suffix in (".yaml", ".yml"):
        return "-cfg"
    holds_weights = (path / "checkpoints").is_dir() or (path / STATE).exists() or path.suffix in SUFFIXES
    return "-pretrained" if holds_weights else "-data_path"
