"""Configuration: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs, as one yacs node.

Only YAML is read (yacs' own `merge_from_file` would run a .py file), without tags, aliases, duplicate
keys and non-finite numbers. Every refusal is a ConfigError that names the file, the key and the
nearest valid key.
"""

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from mae_core.errors import ConfigError

Config = CfgNode  # what the stages call it
Also = Mapping[str, type]  # per key, one more type that is allowed beside the default's


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


def merge_file(config: CfgNode, path: Path, also: Also | None = None, seen: tuple[Path, ...] = ()) -> None:
    """Merge a YAML file, its BASE files first (paths relative to it)."""
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"config {path} names itself through BASE: {' -> '.join(p.name for p in (*seen, path))}")
    data = read_yaml(path)
    base = data.pop("BASE", None) or []
    for name in [base] if isinstance(base, str) else base:
        if name:
            merge_file(config, path.parent / name, also, (*seen, path))
    merge_mapping(config, data, str(path), also)


def merge_mapping(
    config: CfgNode, data: dict[str, Any], source: str, also: Also | None = None, prefix: str = ""
) -> None:
    """Merge nested plain data; `source` names where it came from in errors."""
    for key, value in data.items():
        full = f"{prefix}{key}"
        if key not in config:
            raise ConfigError(f"{source}: key {full} is not known{_nearest(str(key), list(config), prefix)}")
        if isinstance(config[key], CfgNode):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {full}={value!r} must be a group of keys: {', '.join(config[key])}")
            merge_mapping(config[key], value, source, also, f"{full}.")
        else:
            config[key] = _coerce(value, config[key], full, source, (also or {}).get(full))


def _nearest(key: str, valid: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(key.upper(), valid, n=1, cutoff=0.5)
    return f"; nearest is {prefix}{close[0]}" if close else f"; valid here: {', '.join(sorted(valid))}"


def _coerce(value: Any, default: Any, key: str, source: str, also: type | None) -> Any:
    """Turn a value into the default's type. A key whose default is None takes any plain value."""
    if isinstance(value, str) and not isinstance(default, str):
        value = _literal(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{source}: {key}={value} is not a finite number")
    if default is None or type(value) in (type(default), also):
        return value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple | list) and isinstance(value, tuple | list):
        return type(default)(value)
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(type(default), "a list")
    raise ConfigError(f"{source}: {key}={value!r} is not {wanted} (default {default!r})")


def _literal(text: str) -> Any:
    """Read a Python literal (`(0.9, 0.95)`, `None`, `1e-4`), as yacs does; else YAML's true/false; else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def merge_pairs(config: CfgNode, pairs: Sequence[str], also: Also | None = None) -> None:
    """Merge `KEY VALUE` pairs such as `TRAIN.NUM_EPOCHS 10`."""
    if len(pairs) % 2:
        raise ConfigError(f"{' '.join(pairs)!r} is not a sequence of KEY VALUE pairs: {pairs[-1]!r} is left over")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        set_key(config, key, value, also)


def set_key(config: CfgNode, key: str, value: Any, also: Also | None = None) -> None:
    """Set one dotted key from the command line."""
    data: Any = value
    for part in reversed(key.split(".")):
        data = {part: data}
    merge_mapping(config, data, "command line", also)


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
    """Turn nested dicts into {"DATA.BATCH_SIZE": 256, ...}."""
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
