"""A value as one of the types that its key takes, from YAML, a command line or a call."""

import ast
import math

from mae_core.errors import ConfigError
from mae_core.stage.config.keys import NUMBERLESS, Key
from mae_core.stage.config.yaml_file import quote

_MOST_BITS = 64  # of a whole number
_NONE = type(None)
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text", _NONE: "None"}


def take(value: object, name: str, key: Key, source: str) -> object:
    """Turn a value into one of the types that its key takes.

    Args:
        name, source: of the key and where the value is from, for messages.

    Raises:
        ConfigError: it is of another type, not finite, or too large.
    """
    if isinstance(value, str):
        value = _read_text(value, key.types)
    for number in value if isinstance(value, tuple | list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{source}: {name}={quote(value)} is not a finite number")
        if isinstance(number, int) and number.bit_length() > _MOST_BITS:
            raise ConfigError(
                f"{source}: {name}={quote(value)} is too large: whole numbers have up to {_MOST_BITS} bits"
            )
    if type(value) in key.types or key.types == NUMBERLESS:
        return value
    if float in key.types and type(value) is int:
        return float(value)
    if isinstance(value, tuple | list):
        for sequence in (tuple, list):
            if sequence in key.types:
                return sequence(value)
    wanted = " or ".join(_WANTED.get(t, "a list") for t in sorted(key.types, key=lambda t: t is _NONE))
    raise ConfigError(f"{source}: {name}={quote(value)} is not {wanted} (default {key.default!r})")


def _read_text(text: str, types: tuple[type, ...]) -> object:
    """Read what a command line or a predecessor's file gives as text; where text is wanted, it stays as it is."""
    value = literal(text)
    return text if str in types and (value is not None or _NONE not in types) else value


def literal(text: str) -> object:
    """Read a Python literal (`(0.9, 0.95)`, `None`, `1e-4`), as yacs does; else YAML's true/false; else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False, "null": None}.get(text.lower(), text)
