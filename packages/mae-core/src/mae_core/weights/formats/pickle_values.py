"""What a pickle may turn into, and the list of names it may contain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mae_core.errors import CheckpointError

Builder = Callable[..., Any]
_KEY_LENGTH, _KEY_BITS = 10_000, 64


class RefusedPickle(CheckpointError):
    """A pickle asks for something that no weight file needs."""


@dataclass(frozen=True)
class Name:
    """A name that a pickle refers to; never looked up in any module."""

    text: str


class Inert:
    """Stands for an object of no interest, such as the training script's arguments."""

    def __init__(self, *args: Any) -> None:
        pass

    def build(self, state: Any) -> None:
        """Drop the state."""


class Attributed(dict[Any, Any]):
    """An ordered dict; what else its pickle sets on it (PyTorch's `_metadata`) is dropped."""

    def build(self, state: Any) -> None:
        """Drop the attributes."""


def ordered_dict(pairs: Any = ()) -> Attributed:
    """Build what stands for `collections.OrderedDict`."""
    result = Attributed()
    for key, value in pairs:
        result[plain_key(key)] = value
    return result


def encoded(text: str, encoding: str) -> bytes:
    """Build what stands for `_codecs.encode`: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("an encoding other than latin1, or of something else than text")
    return text.encode("latin-1")


# What any weight file may name; a value of None may be mentioned, but not called.
PLAIN: dict[str, Builder | None] = {
    "collections.OrderedDict": ordered_dict,
    "_codecs.encode": encoded,
    "builtins.tuple": tuple,
    "__builtin__.tuple": tuple,
    "argparse.Namespace": Inert,
}


def safe_text(text: str) -> str:
    """Make a name from a file safe and short enough for a message."""
    return "".join(c if c.isprintable() else "?" for c in text[:80]) + ("..." if len(text) > 80 else "")


def type_name(value: Any) -> str:
    """Name a value's type; the value itself may be nested, and too long to print."""
    return type(value).__name__


def plain_key(key: Any) -> Any:
    """Let names and numbers pass as dictionary keys; each is hashed or compared in bounded time.

    Hashing anything nested would recurse without bound; hashing a long number again and again takes for ever.
    """
    if not isinstance(key, (str, int, float, bytes, type(None))):
        raise RefusedPickle(f"a {type_name(key)} as a dictionary key; weight files have names and numbers there")
    long = isinstance(key, str | bytes) and len(key) > _KEY_LENGTH
    if long or (isinstance(key, int) and key.bit_length() > _KEY_BITS):
        raise RefusedPickle(f"a dictionary key of over {_KEY_LENGTH:,} characters or {_KEY_BITS} bits")
    return key
