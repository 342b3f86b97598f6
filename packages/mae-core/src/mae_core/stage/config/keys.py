"""What a config key is: default, meaning, source, and what it may be set to. A stage's keys are a table of these."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from mae_core.errors import ConfigError
from mae_core.stage.config.node import Config

NUMBERLESS = (type(None),)  # the types of a key whose default is None and that takes no other: left to the checks
NO_END = 10**9  # stands in a range for: no upper bound


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a key takes, beside values of its default's type.

    Args:
        also: one more type.
        choices: the only values.
        positive: the number, or all of a list, are above zero.
        range: lowest and highest number, both included; of all of a list.
    """

    also: type | None = None
    choices: tuple[object, ...] = ()
    positive: bool = False
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Shared(Limits):
    """A key that stages share: everything but its value, which each stage states."""

    meaning: str


@dataclass(frozen=True)
class Key(Limits):
    """A key of a stage.

    Args:
        default: the stage's value.
        meaning: what it is for; "" where the key is a shared one and means the same here.
        source: where the value is from, such as a table of the paper.
    """

    default: object
    meaning: str = ""
    source: str = ""

    @property
    def types(self) -> tuple[type, ...]:
        """The types that it takes."""
        return (type(self.default),) if self.also is None else (type(self.default), self.also)

    @property
    def help(self) -> str:
        """Meaning and source, as they are printed."""
        return f"{self.meaning} ({self.source})" if self.source else self.meaning

    def require(self, name: str, value: object) -> None:
        """Require a value to be within the limits.

        Raises:
            ConfigError: it is not.
        """
        if self.choices and value not in self.choices:
            raise ConfigError(f"{name}={value!r} is not one of {', '.join(map(repr, self.choices))}")
        if self.positive and not all(number > 0 for number in numbers_of(name, value)):
            raise ConfigError(f"{name}={value} is not positive")
        if self.range:
            low, high = self.range
            if not all(low <= number <= high for number in numbers_of(name, value)):
                raise ConfigError(f"{name}={value} is outside {low:g} to {high:g}")


Keys: TypeAlias = Mapping[str, Key]  # by dotted name, in the order of the config file
Stated: TypeAlias = Mapping[str, "Stated | object"]  # a stage's own table, nested: plain values, or Key with more


def keys_of(stated: Stated, shared: Mapping[str, Shared]) -> dict[str, Key]:
    """Complete a stage's table by what the shared keys mean and take.

    Args:
        stated: nested groups of keys. A plain value is that of a shared key.
        shared: by dotted name.
    """
    found = {}
    for name, value in _flat(stated):
        key = value if isinstance(value, Key) else Key(value)
        if base := shared.get(name):
            limits = {field: getattr(base, field) for field in Limits.__dataclass_fields__}
            key = replace(key, meaning=key.meaning or base.meaning, **limits)
        found[name] = key
    return found


def _flat(stated: Stated, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in stated.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def config_of(keys: Keys) -> Config:
    """Return a config of the defaults."""
    config = Config()
    for name, key in keys.items():
        *groups, last = name.split(".")
        node = config
        for group in groups:
            node = node.setdefault(group, Config())
        node[last] = list(key.default) if isinstance(key.default, list) else key.default
    return config


def numbers_of(name: str, value: object) -> list[float]:
    """Return a key's number, or the numbers of its list: types do not reach into a list.

    Raises:
        ConfigError: something in it is no number.
    """
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    found = [number for number in numbers if isinstance(number, int | float) and not isinstance(number, bool)]
    if not numbers or len(found) < len(numbers):
        raise ConfigError(f"{name}={value!r} is not made of numbers")
    return found
