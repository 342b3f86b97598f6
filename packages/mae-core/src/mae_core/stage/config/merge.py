"""Configuration in the making: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs, each merged once.

What nobody stated can be lent afterwards, by weights or the resumed run. Every refusal is a ConfigError that names the
file, the key and the nearest valid key.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

from mae_core.errors import ConfigError
from mae_core.stage.config.base_files import Layer
from mae_core.stage.config.keys import Keys, config_of
from mae_core.stage.config.node import Config, nest
from mae_core.stage.config.values import take
from mae_core.stage.config.yaml_file import quote

COMMAND_LINE = "command line"
# (dotted key that is none of the stage's, value, source) -> whether it may be passed over; it may refuse.
PassOver = Callable[[str, object, str], bool]


class Merge:
    """A config in the making.

    Args:
        keys: every key of the stage.
        pass_over: decides on keys that are none of these.

    Attributes:
        config: the values so far.
        stated: the dotted keys that the user stated, in whatever way.
    """

    def __init__(self, keys: Keys, pass_over: PassOver = lambda key, value, source: False) -> None:
        self.keys, self.config, self.stated = keys, config_of(keys), set[str]()
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
        if len(pairs) % 2:
            raise ConfigError(f"{' '.join(pairs)!r} is not a sequence of KEY VALUE pairs: {pairs[-1]!r} is left over")
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
            name = f"{prefix}{_key_text(key)}"
            if key not in node:
                if self._pass_over(name, value, source):
                    continue
                raise ConfigError(f"{source}: key {name} is not known{_nearest(str(key), list(node), prefix)}")
            if not isinstance(node[key], Config):
                node[key] = take(value, name, self.keys[name], source)
                self.stated.add(name)
            elif isinstance(value, dict):
                self._tree(node[key], value, source, f"{name}.")
            else:
                raise ConfigError(f"{source}: {name}={quote(value)} must be a group of keys: {', '.join(node[key])}")


def _key_text(key: object) -> str:
    return key if isinstance(key, str) and key.isprintable() and len(key) < 100 else quote(key)


def _nearest(key: str, valid: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(key.upper(), valid, n=1, cutoff=0.5)
    return f"; nearest is {prefix}{close[0]}" if close else f"; valid here: {', '.join(sorted(valid))}"
