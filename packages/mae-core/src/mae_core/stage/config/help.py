"""`--help-config`: what each key of a stage means and takes, for people and for editors."""

import json
from difflib import get_close_matches

from mae_core.errors import ConfigError
from mae_core.stage.config.keys import NO_END, NUMBERLESS, Key, Keys
from mae_core.stage.config.node import Tree, nest, plain, update
from mae_core.stage.config.recipe import Recipe

_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list", tuple: "list"}
_JSON = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", tuple: "array"}


def allowed(key: Key) -> str:
    """Return what a key takes, in words."""
    if key.choices:
        return " or ".join(map(str, key.choices))
    words = " or ".join(dict.fromkeys(_NAMES.get(t, "None") for t in key.types))
    if key.types == NUMBERLESS:
        words = "None or a number"
    if key.positive:
        words += " above 0"
    if key.range:
        low, high = key.range
        words += f", {low:g} or more" if high == NO_END else f", {low:g} to {high:.7g}"
    return words


def help_lines(recipe: Recipe, wanted: str = "") -> list[str]:
    """Describe all keys, or a key or group.

    Raises:
        ConfigError: there is no such key or group.
    """
    return [
        line
        for name, key in _matching(recipe.keys, wanted.upper()).items()
        for line in (f"{name} = {plain(key.default)}", f"    {key.help}", f"    takes {allowed(key)}")
    ]


def _matching(keys: Keys, wanted: str) -> Keys:
    found = {name: key for name, key in keys.items() if f"{name}.".startswith(f"{wanted}." if wanted else "")}
    found = found or {name: key for name, key in keys.items() if wanted in name.split(".")}
    if not found:
        near = get_close_matches(wanted, keys, n=3, cutoff=0.4) or sorted({name.split(".")[0] for name in keys})
        raise ConfigError(f"there is no config key {wanted}; nearest: {', '.join(near)}")
    return found


def json_schema(recipe: Recipe) -> str:
    """Return a JSON Schema of the stage's YAML files, for editors."""
    base = {"type": ["string", "array"], "description": "YAML files below this one, merged first"}
    keys: Tree = {}
    for name, key in recipe.keys.items():
        update(keys, nest(name, key))
    root = _group("config of " + recipe.package.replace("_", "-"), keys)
    root["properties"] = {"BASE": base, **_properties(keys)}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **root}, indent=1)


def _group(title: str, tree: Tree) -> Tree:
    return {"title": title, "type": "object", "additionalProperties": False, "properties": _properties(tree)}


def _properties(tree: Tree) -> Tree:
    return {
        name: _schema(key) if isinstance(key, Key) else _group(name, key)
        for name, key in tree.items()
        if isinstance(key, Key | dict)
    }


def _schema(key: Key) -> Tree:
    schema: Tree = {"description": key.help, "default": key.default}
    if key.choices:
        return schema | {"enum": list(key.choices)}
    if key.types == NUMBERLESS:
        return schema  # None, or what the checks between keys take
    kinds = list(dict.fromkeys(_JSON.get(t, "null") for t in key.types))
    kinds += ["string"] * (set(kinds) <= {"number", "array", "null"})  # `5e-4` and `(0.9, 0.95)` are text to YAML
    limits: Tree = {"minimum": key.range[0], "maximum": key.range[1]} if key.range else {}
    if key.positive:
        limits["exclusiveMinimum"] = 0
    if "array" in kinds:
        schema |= {"items": {"type": ["number", "string"], **limits}}
    return schema | {"type": kinds[0] if len(kinds) == 1 else kinds, **(limits if kinds[0] != "array" else {})}
