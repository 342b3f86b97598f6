"""Configuration: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs, as one yacs node.

Files are read by `yaml_file` (yacs' own `merge_from_file` would run a .py file); numbers are finite. Every refusal is
a ConfigError that names the file, the key and the nearest valid key.
"""

import ast
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from mae_core.errors import ConfigError
from mae_core.stage.config.yaml_file import quote, read_yaml

Config = CfgNode  # what the stages call it
_NONE = type(None)
_MOST_LEVELS, _MOST_FILES = 16, 64  # of BASE
_MOST_BITS = 64  # of a whole number
Also = Mapping[str, type]  # per key, one more type that is allowed beside the default's


@dataclass(frozen=True)
class Schema:
    """The keys of a config and what each takes, whatever it was set to before.

    Args:
        defaults: every key with its default; a value is of the default's type.
        also: per key, one more type that is allowed. A key whose default is None and that has none takes any plain
            value, and is left to the checks.
        foreign: (dotted key that is not of these, value, source) -> whether it may be passed over; it may refuse.
    """

    defaults: CfgNode
    also: Also
    foreign: Callable[[str, Any, str], bool] = lambda key, value, source: False

    def types(self, key: str) -> tuple[type, ...]:
        """Return the types that a dotted key takes."""
        default = type(get_key(self.defaults, key))
        return (default, self.also[key]) if key in self.also else (default,)


@dataclass
class _Merge:
    """The files merged so far, so that a chain, a circle or a fan of BASE ends."""

    files: int = 0

    def enter(self, path: Path, above: tuple[Path, ...]) -> None:
        self.files += 1
        chain = " -> ".join(p.name for p in (*above, path)[-4:])
        if path in above:
            raise ConfigError(f"config {path} names itself through BASE: {chain}")
        if len(above) >= _MOST_LEVELS:
            raise ConfigError(f"config {path} is more than {_MOST_LEVELS} levels of BASE deep: ... {chain}")
        if self.files > _MOST_FILES:
            raise ConfigError(f"config {path}: BASE names more than {_MOST_FILES} files in all; merge some by hand")


def merge_file(config: CfgNode, path: Path, schema: Schema) -> None:
    """Merge a YAML file, its BASE files first (paths relative to it).

    Raises:
        ConfigError: a file or BASE cannot be read, or BASE goes in circles, deeper than 16 levels or over 64 files.
    """
    for file, data in read_layers(path):
        merge_mapping(config, data, str(file), schema)


def read_layers(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a YAML file's BASE files, then itself: path and keys; refusals as in `merge_file`."""
    yield from _layers(_resolved(path), (), _Merge())


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise ConfigError(f"config {path} cannot be read: {error}") from None


def _layers(path: Path, above: tuple[Path, ...], merge: _Merge) -> Iterator[tuple[Path, dict[str, Any]]]:
    merge.enter(path, above)
    data = read_yaml(path)
    for name in _base_names(data.pop("BASE", None), path):
        yield from _layers(_resolved(path.parent / name), (*above, path), merge)
    yield path, data


def _base_names(base: Any, path: Path) -> list[str]:
    """Return the files that BASE names; the predecessor's files have [''] for none."""
    names = base if isinstance(base, list) else [base]
    if wrong := [name for name in names if not isinstance(name, str | None) or "\0" in (name or "")]:
        raise ConfigError(f"config {path}: BASE={quote(wrong[0])} is not a file name, or a list of them")
    return [name for name in names if name]


def merge_mapping(config: CfgNode, data: dict[str, Any], source: str, schema: Schema, prefix: str = "") -> None:
    """Merge nested plain data; `source` names where it came from in errors."""
    for key, value in data.items():
        full = f"{prefix}{_key_text(key)}"
        if key not in config:
            if schema.foreign(full, value, source):
                continue
            raise ConfigError(f"{source}: key {full} is not known{_nearest(str(key), list(config), prefix)}")
        if isinstance(config[key], CfgNode):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {full}={quote(value)} must be a group of keys: {', '.join(config[key])}")
            merge_mapping(config[key], value, source, schema, f"{full}.")
        else:
            config[key] = _coerce(value, full, source, schema)


def _key_text(key: Any) -> str:
    return key if isinstance(key, str) and key.isprintable() and len(key) < 100 else quote(key)


def _nearest(key: str, valid: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(key.upper(), valid, n=1, cutoff=0.5)
    return f"; nearest is {prefix}{close[0]}" if close else f"; valid here: {', '.join(sorted(valid))}"


_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text", _NONE: "None"}


def _coerce(value: Any, key: str, source: str, schema: Schema) -> Any:
    """Turn a value into one of the types that its key takes."""
    types = schema.types(key)
    if isinstance(value, str):
        value = _read_text(value, types)
    numbers = value if isinstance(value, tuple | list) else [value]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise ConfigError(f"{source}: {key}={quote(value)} is not a finite number")
    if any(isinstance(number, int) and number.bit_length() > _MOST_BITS for number in numbers):
        raise ConfigError(f"{source}: {key}={quote(value)} is too large: whole numbers have up to {_MOST_BITS} bits")
    if type(value) in types or types == (_NONE,):
        return value
    if float in types and type(value) is int:
        return float(value)
    for sequence in (tuple, list):
        if sequence in types and isinstance(value, tuple | list):
            return sequence(value)
    wanted = " or ".join(_WANTED.get(t, "a list") for t in sorted(types, key=lambda t: t is _NONE))
    raise ConfigError(f"{source}: {key}={quote(value)} is not {wanted} (default {get_key(schema.defaults, key)!r})")


def _read_text(text: str, types: tuple[type, ...]) -> Any:
    """Read what a command line or a predecessor's file gives as text; where text is wanted, it stays as it is."""
    value = _literal(text)
    return text if str in types and (value is not None or _NONE not in types) else value


def _literal(text: str) -> Any:
    """Read a Python literal (`(0.9, 0.95)`, `None`, `1e-4`), as yacs does; else YAML's true/false; else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def merge_pairs(config: CfgNode, pairs: Sequence[str], schema: Schema) -> None:
    """Merge `KEY VALUE` pairs, keys dotted."""
    if len(pairs) % 2:
        raise ConfigError(f"{' '.join(pairs)!r} is not a sequence of KEY VALUE pairs: {pairs[-1]!r} is left over")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        set_key(config, key, value, schema)


def set_key(config: CfgNode, key: str, value: Any, schema: Schema) -> None:
    """Set one dotted key from the command line."""
    data: Any = value
    for part in reversed(key.split(".")):
        data = {part: data}
    merge_mapping(config, data, "command line", schema)


def get_key(config: CfgNode, key: str) -> Any:
    """Read one dotted key."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def to_dict(config: CfgNode) -> dict[str, Any]:
    """Turn a node into plain dicts, lists and numbers."""
    plain = {k: to_dict(v) if isinstance(v, CfgNode) else v for k, v in config.items()}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into {"GROUP.KEY": value, ...}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def drifted_keys(saved: dict[str, Any], now: dict[str, Any], free: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """List keys whose value differs between two configs; `free` names keys or groups that may."""
    old, new = flatten(saved), flatten(now)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(key == f or key.startswith(f"{f}.") for f in free)
    }
