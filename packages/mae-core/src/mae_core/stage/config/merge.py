"""Configuration in the making: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs, each merged once.

What nobody stated can be lent afterwards, by weights or the resumed run. Every refusal is a ConfigError that names the
file, the key and the nearest valid key.
"""

import ast
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from mae_core.errors import ConfigError
from mae_core.stage.config.keys import NUMBERLESS, Key, Keys, config_of
from mae_core.stage.config.node import Config, nest
from mae_core.stage.config.words import require_pairs
from mae_core.stage.config.yaml_file import Layer, quote

COMMAND_LINE = "command line"
# (dotted key that is none of the stage's, value, source) -> whether it may be passed over; it may refuse.
PassOver = Callable[[str, object, str], bool]
_MOST_BITS = 64  # of a whole number
_NONE = type(None)
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text", _NONE: "None"}


class Merge:
    """A config in the making.

    Args:
        keys: every key of the stage.
        pass_over: decides on keys that are none of these.

    Attributes:
        config: the values so far.
        stated: the dotted keys that the user stated, in whatever way, each with the file, or COMMAND_LINE.
    """

    def __init__(self, keys: Keys, pass_over: PassOver = lambda key, value, source: False) -> None:
        self.keys, self.config, self.stated = keys, config_of(keys), dict[str, str]()
        self._pass_over = pass_over

    def layers(self, layers: Iterable[Layer]) -> None:
        """Merge files, the first one lowest."""
        for layer in layers:
            self._tree(self.config, layer.keys, str(layer.path), "")

    def values(self, values: Mapping[str, object], source: str = COMMAND_LINE) -> None:
        """Merge values by dotted key."""
        for key, value in values.items():
            self._tree(self.config, nest(key, value), source, "")

    def pairs(self, pairs: Sequence[str]) -> None:
        """Merge `KEY VALUE` pairs."""
        require_pairs(pairs, self.keys, self.config)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.values({key: value})

    def lend(self, values: Mapping[str, object], source: str) -> None:
        """Set those keys of the stage that the user did not state.

        Args:
            values: by dotted key, also of other stages.
            source: where they are from, for messages.
        """
        stated = self.stated.copy()
        lent = {key: value for key, value in values.items() if key in self.keys and key not in stated}
        self.values(lent, source)
        self.stated = stated

    def _tree(self, node: Config, tree: Mapping[str, object], source: str, prefix: str) -> None:
        for key, value in tree.items():
            shown = key if isinstance(key, str) and key.isprintable() and len(key) < 100 else quote(key)
            name = f"{prefix}{shown}"
            if key not in node:
                if self._pass_over(name, value, source):
                    continue
                raise ConfigError(f"{source}: key {name} is not known{nearest_key(str(key), list(node), prefix)}")
            if not isinstance(node[key], Config):
                node[key] = take(value, name, self.keys[name], source)
                self.stated[name] = source
            elif isinstance(value, dict):
                self._tree(node[key], value, source, f"{name}.")
            else:
                raise ConfigError(f"{source}: {name}={quote(value)} must be a group of keys: {', '.join(node[key])}")


def nearest_key(key: str, valid: list[str], prefix: str) -> str:
    """Return the end of a refusal: the valid key that is most like this one, or all."""
    close = difflib.get_close_matches(key.upper(), valid, n=1, cutoff=0.5)
    return f"; nearest is {prefix}{close[0]}" if close else f"; valid here: {', '.join(sorted(valid))}"


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
