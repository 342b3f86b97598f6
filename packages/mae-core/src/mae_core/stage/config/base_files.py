"""A YAML file and the files below it: BASE names what is merged first, paths relative to the file."""

from dataclasses import dataclass
from pathlib import Path

from mae_core.errors import ConfigError
from mae_core.stage.config.node import Tree
from mae_core.stage.config.yaml_file import quote, read_yaml

_MOST_LEVELS, _MOST_FILES = 16, 64


@dataclass(frozen=True)
class Layer:
    """What one file states."""

    path: Path
    keys: Tree


def read_layers(path: Path) -> list[Layer]:
    """Read a YAML file: its BASE files first, then itself.

    Raises:
        ConfigError: a file or BASE cannot be read, or BASE goes in circles, deeper than 16 levels or over 64 files.
    """
    return _Chain().read(_resolved(path), ())


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise ConfigError(f"config {path} cannot be read: {error}") from None


@dataclass
class _Chain:
    """Counts the files, so that a chain, a circle or a fan of BASE ends."""

    files: int = 0

    def read(self, path: Path, above: tuple[Path, ...]) -> list[Layer]:
        self._enter(path, above)
        keys = read_yaml(path)
        names = _base_names(keys.pop("BASE", None), path)
        below = [layer for name in names for layer in self.read(_resolved(path.parent / name), (*above, path))]
        return [*below, Layer(path, keys)]

    def _enter(self, path: Path, above: tuple[Path, ...]) -> None:
        self.files += 1
        chain = " -> ".join(p.name for p in (*above, path)[-4:])
        if path in above:
            raise ConfigError(f"config {path} names itself through BASE: {chain}")
        if len(above) >= _MOST_LEVELS:
            raise ConfigError(f"config {path} is more than {_MOST_LEVELS} levels of BASE deep: ... {chain}")
        if self.files > _MOST_FILES:
            raise ConfigError(f"config {path}: BASE names more than {_MOST_FILES} files in all; merge some by hand")


def _base_names(base: object, path: Path) -> list[str]:
    """Return the files that BASE names; the predecessor's files have [''] for none."""
    names = []
    for name in base if isinstance(base, list) else [base]:
        if not isinstance(name, str | None) or "\0" in (name or ""):
            raise ConfigError(f"config {path}: BASE={quote(name)} is not a file name, or a list of them")
        if name:
            names.append(name)
    return names
