"""A config as one yacs node, and as plain data: nested, or by dotted key."""

from collections.abc import Mapping

from yacs.config import CfgNode

Config = CfgNode  # what the stages call it
Values = dict[str, object]  # plain values by dotted key
Tree = dict[str, object]  # plain values in nested groups


def get_key(config: CfgNode, key: str) -> object:
    """Read one dotted key."""
    value: object = config
    for part in key.split("."):
        value = value[part]  # type: ignore[index]
    return value


def plain(value: object) -> object:
    """Return a value as files hold it: a tuple as a list."""
    return list(value) if isinstance(value, tuple) else value


def to_dict(config: CfgNode) -> Tree:
    """Turn a node into plain dicts, lists and numbers."""
    return {k: to_dict(v) if isinstance(v, CfgNode) else plain(v) for k, v in config.items()}


def flatten(config: Mapping[str, object], prefix: str = "") -> Values:
    """Turn nested dicts into {"GROUP.KEY": value, ...}."""
    flat: Values = {}
    for key, value in config.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def nest(key: str, value: object) -> Tree:
    """Turn one dotted key into nested dicts."""
    first, _, rest = key.partition(".")
    return {first: nest(rest, value) if rest else value}


def update(whole: Tree, more: Mapping[str, object]) -> None:
    """Put the values of a nested dictionary into another."""
    for key, value in more.items():
        inner = whole.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            update(inner, value)
        else:
            whole[key] = value
