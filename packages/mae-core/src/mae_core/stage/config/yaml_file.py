"""Config files of YAML: plain data alone, and below a file those that its BASE names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mae_core.errors import ConfigError
from mae_core.stage.config.node import Tree

_MOST_BYTES = 100_000  # a config has 3,000; reading as much takes about half a second
_DEEPEST = 32
_LONGEST_NUMBER = 100  # characters
_MERGE, _NUMBERS = "tag:yaml.org,2002:merge", ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MOST_LEVELS, _MOST_FILES = 16, 64


def read_yaml(path: Path) -> Tree:
    """Read a YAML mapping.

    Raises:
        ConfigError: it is missing, not YAML, or holds more than plain data: tags, aliases, merge or duplicate keys,
            lists as keys, values nested deeper than 32 levels.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"config {path} is not a .yaml file; only YAML is read")
    try:
        data = yaml.load(_text(path), Loader=_StrictLoader)  # a SafeLoader
    except ConfigError as error:
        raise ConfigError(f"config {path} {error}") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:  # ValueError: no UTF-8, no such date
        raise ConfigError(f"config {path} cannot be read: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(data or {}, dict):
        raise ConfigError(f"config {path} is not a mapping of keys to values")
    return data or {}


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ConfigError("is not a file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"is larger than {_MOST_BYTES:,} bytes, which no config is")
    return content.decode("utf-8-sig")


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader of plain data, each key once."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        line = self.peek_event().start_mark.line + 1
        if self.check_event(yaml.events.AliasEvent):
            raise ConfigError(f"line {line}: YAML aliases (*name) are not allowed")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConfigError(f"line {line}: nested deeper than {_DEEPEST} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise ConfigError(f"line {line}: a number of {len(node.value):,} characters")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE:
                raise ConfigError(f"line {line}: a key must be a name, not a list, a mapping or <<")
            if key_node.value in seen:
                raise ConfigError(f"line {line}: key {quote(key_node.value)} stands twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def quote(value: object) -> str:
    """Quote a value from outside, cut where it is too long for a message of one line."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text):,} characters)"


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
