"""Configuration: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs, as one yacs node.

Only YAML is read (yacs' own `merge_from_file` would run a .py file), without tags, aliases, duplicate
keys and non-finite numbers. Every refusal is a ConfigError that names the file, the key and the
nearest valid key.
"""

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from mae_core.errors import ConfigError

Config = CfgNode  # what the stages call it
_NONE = type(None)
Also = Mapping[str, type]  # per key, one more type that is allowed beside the default's


@dataclass(frozen=True)
class Schema:
    """The keys of a config and what each takes, whatever it was set to before.

    Args:
        defaults: every key with its default; a value is of the default's type.
        also: per key, one more type that is allowed. A key whose default is None and that has none takes any plain
            value, and is left to the checks.
    """

    defaults: CfgNode
    also: Also

    def types(self, key: str) -> tuple[type, ...]:
        """Return the types that a dotted key takes."""
        default = type(get_key(self.defaults, key))
        return (default, self.also[key]) if key in self.also else (default,)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses what makes a config mean something else than it says."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise ConfigError(f"line {mark.line + 1}: YAML aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: key {key_node.value!r} stands twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: it is missing, not YAML, or holds more than plain data.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"config {path} is not a .yaml file; only YAML is read")
    try:
        data = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)  # a SafeLoader
    except ConfigError as error:
        raise ConfigError(f"{path} {error}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"config {path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(data or {}, dict):
        raise ConfigError(f"config {path} is not a mapping of keys to values")
    return data or {}


def merge_file(config: CfgNode, path: Path, schema: Schema, seen: tuple[Path, ...] = ()) -> None:
    """Merge a YAML file, its BASE files first (paths relative to it)."""
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"config {path} names itself through BASE: {' -> '.join(p.name for p in (*seen, path))}")
    data = read_yaml(path)
    base = data.pop("BASE", None) or []
    for name in [base] if isinstance(base, str) else base:
        if name:
            merge_file(config, path.parent / name, schema, (*seen, path))
    merge_mapping(config, data, str(path), schema)


def merge_mapping(config: CfgNode, data: dict[str, Any], source: str, schema: Schema, prefix: str = "") -> None:
    """Merge nested plain data; `source` names where it came from in errors."""
    for key, value in data.items():
        full = f"{prefix}{key}"
        if key not in config:
            raise ConfigError(f"{source}: key {full} is not known{_nearest(str(key), list(config), prefix)}")
        if isinstance(config[key], CfgNode):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {full}={value!r} must be a group of keys: {', '.join(config[key])}")
            merge_mapping(config[key], value, source, schema, f"{full}.")
        else:
            config[key] = _coerce(value, full, source, schema)


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
        raise ConfigError(f"{source}: {key}={value} is not a finite number")
    if type(value) in types or types == (_NONE,):
        return value
    if float in types and type(value) is int:
        return float(value)
    for sequence in (tuple, list):
        if sequence in types and isinstance(value, tuple | list):
            return sequence(value)
    wanted = " or ".join(_WANTED.get(t, "a list") for t in sorted(types, key=lambda t: t is _NONE))
    raise ConfigError(f"{source}: {key}={value!r} is not {wanted} (default {get_key(schema.defaults, key)!r})")


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
