"""`--help-config`: what each key means, by the comment beside its default, which is the only place that says it."""

import io
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import Any

from mae_core.errors import ConfigError
from mae_core.stage.config.node import flatten, to_dict
from mae_core.stage.config.recipe import Recipe

_ASSIGNMENT = re.compile(r"^_C\.([A-Z][A-Z0-9_.]*) = ")
_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list", tuple: "list"}
_ANY = 10**9  # the limits' way to say: no upper bound
_JSON = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", tuple: "array"}


@dataclass(frozen=True)
class Key:
    """A key of a stage's config."""

    name: str
    meaning: str
    default: Any
    types: tuple[type, ...]
    choices: tuple[Any, ...] | None
    positive: bool
    range: tuple[float, float] | None

    @property
    def allowed(self) -> str:
        """What the key takes, in words."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        named = [_NAMES.get(t, "None") for t in self.types]
        words = " or ".join(dict.fromkeys(named)) if self.types != (type(None),) else "None or a number"
        if self.positive:
            words += " above 0"
        if self.range:
            low, high = self.range
            words += f", {low:g} or more" if high == _ANY else f", {low:g} to {high:.7g}"
        return words

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.name} = {self.default}"
        yield f"    {self.meaning}"
        yield f"    takes {self.allowed}"

    def schema(self) -> dict[str, Any]:
        """Say it for an editor (JSON Schema)."""
        said: dict[str, Any] = {"description": self.meaning, "default": self.default}
        if self.choices:
            return said | {"enum": list(self.choices)}
        if self.types == (type(None),):
            return said  # None, or what the checks between keys take
        kinds = [_JSON.get(t, "null") for t in self.types]
        kinds += ["string"] * (set(kinds) <= {"number", "array", "null"})  # `5e-4` and `(0.9, 0.95)` are text to YAML
        limits = {"minimum": self.range[0], "maximum": self.range[1]} if self.range else {}
        if self.positive:
            limits["exclusiveMinimum"] = 0
        if "array" in kinds:
            said |= {"items": {"type": ["number", "string"], **limits}}
        return said | {"type": kinds[0] if len(kinds) == 1 else kinds, **(limits if kinds[0] != "array" else {})}


def keys_of(recipe: Recipe) -> list[Key]:
    """Return the keys of a stage in the order of its config file."""
    source = resources.files(recipe.package).joinpath("config.py").read_text(encoding="utf-8")
    meanings, limits = key_comments(source), recipe.limits
    return [
        Key(
            name,
            meanings.get(name, ""),
            default,
            recipe.schema.types(name),
            tuple(limits.choices[name]) if name in limits.choices else None,
            name in limits.positive,
            limits.ranges.get(name),
        )
        for name, default in flatten(to_dict(recipe.defaults)).items()
    ]


def key_comments(source: str) -> dict[str, str]:
    """Return the comment beside each `_C.KEY = default`, or the lines of comment right above it."""
    comments: dict[str, str] = {}
    above: list[str] = []
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = lines[token.start[0] - 1], token.string.lstrip("# ")
        if match := _ASSIGNMENT.match(line):
            comments[match[1]] = text
        elif line.startswith("#"):
            above.append(text)
            following = lines[token.start[0]] if token.start[0] < len(lines) else ""
            if match := _ASSIGNMENT.match(following):
                comments[match[1]] = " ".join(above)
            if not following.startswith("#"):
                above = []
    return comments


def help_lines(recipe: Recipe, wanted: str = "") -> list[str]:
    """Describe all keys, or a key or group.

    Raises:
        ConfigError: there is no such key or group.
    """
    keys, wanted = keys_of(recipe), wanted.upper()
    found = [key for key in keys if not wanted or key.name == wanted or key.name.startswith(f"{wanted}.")]
    found = found or [key for key in keys if wanted in key.name.split(".")]
    if not found:
        raise _unknown(wanted, [key.name for key in keys])
    return [line for key in found for line in key.lines()]


def _unknown(wanted: str, names: list[str]) -> ConfigError:
    near = get_close_matches(wanted, names, n=3, cutoff=0.4) or sorted({name.split(".")[0] for name in names})
    return ConfigError(f"there is no config key {wanted}; nearest: {', '.join(near)}")


def json_schema(recipe: Recipe) -> str:
    """Return a JSON Schema of the stage's YAML files, for editors."""
    root = _group("config of " + recipe.package.replace("_", "-"))
    base = {"type": ["string", "array"], "description": "YAML files below this one, merged first"}
    root["properties"]["BASE"] = base
    for key in keys_of(recipe):
        *groups, last = key.name.split(".")
        node = root
        for group in groups:
            node = node["properties"].setdefault(group, _group(group))
        node["properties"][last] = key.schema()
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **root}, indent=1)


def _group(title: str) -> dict[str, Any]:
    return {"title": title, "type": "object", "additionalProperties": False, "properties": {}}
