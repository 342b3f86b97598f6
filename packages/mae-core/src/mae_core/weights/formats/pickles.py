"""Read pickles as data: an interpreter of the format that imports nothing and calls nothing a file names.

A pickle is a program. Here its opcodes build plain values only: a name such as `os.system` is a string that is
compared with an allow-list, and "calling" it looks up one of our own functions in that list. What is not listed is
refused, so no opcode has anything to run.

Work and memory are bounded by the file's size: an opcode takes what stands on the stack (each piece was read once),
and a call, which may be made again and again with the same arguments, is charged for all their pieces. Nothing
nested is ever hashed, printed or compared: a few bytes can nest the same pair into 2**60 pieces.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import (
    Attributed,
    Builder,
    Name,
    RefusedPickle,
    plain_key,
    safe_text,
    type_name,
)


class Readable(Protocol):
    """A binary file, `io.BytesIO` or `mmap.mmap`."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SIZED = (str, bytes, tuple, list, dict, set)
_MARK = object()
_MOST_STEPS = 500_000  # ViT-H with its optimizer has 60,000
_SLACK = 10_000  # pieces that calls of a tiny file may take


def read_pickle(
    stream: Readable | bytes,
    allowed: Mapping[str, Builder | None],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Interpret one pickle.

    Args:
        stream: left behind the pickle's end.
        allowed: "module.name" -> our own function that stands for it, or None where only the name may occur.
        persistent: turns persistent ids into values; without it they are refused.

    Raises:
        RefusedPickle: the pickle names, calls or sets what is not allowed.
        CheckpointError: it is damaged.
    """
    machine = _Machine(allowed, persistent)
    try:
        for opcode, argument, position in pickletools.genops(stream):  # type: ignore[arg-type]
            machine.advance(position or 0)
            machine.step(opcode.name, argument)
        return machine.pop()
    except RefusedPickle:
        raise
    except MemoryError:  # sizes that a file announces are read up to its end only
        raise CheckpointError("there is too little memory to read it") from None
    # RecursionError too: whatever a damaged file provokes, the answer is the same.
    except Exception as error:
        raise CheckpointError(f"the pickle is damaged ({type(error).__name__}: {safe_text(str(error))})") from None


class _Machine:
    """The stack and memo of one pickle; one method a family of opcodes, named after it."""

    def __init__(self, allowed: Mapping[str, Builder | None], persistent: Callable[[Any], Any] | None) -> None:
        self.allowed, self.persistent = allowed, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.position = self.steps = self.built = 0

    def advance(self, position: int) -> None:
        self.position = position
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise RefusedPickle(f"its pickle has over {_MOST_STEPS:,} steps; those of weights have some thousands")

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop() for _ in range(_TUPLES[name]))[::-1])
        elif method := getattr(self, f"on_{name.lower()}", None):
            method(argument)
        else:  # INST, OBJ, NEWOBJ_EX, EXT1, EXT2, EXT4, buffers outside the file
            named = f" {safe_text(argument)}" if isinstance(argument, str) else ""
            raise RefusedPickle(f"pickle opcode {name}{named} is not allowed")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value belongs")
        return value

    def pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("no mark on the stack")
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def on_proto(self, argument: Any) -> None:
        pass

    on_frame = on_stop = on_proto

    def on_mark(self, argument: Any) -> None:
        self.stack.append(_MARK)

    def on_pop(self, argument: Any) -> None:
        self.stack.pop()

    def on_pop_mark(self, argument: Any) -> None:
        self.pop_to_mark()

    def on_dup(self, argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def on_memoize(self, argument: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_put(self, argument: Any) -> None:
        self.memo[argument] = self.stack[-1]

    on_binput = on_long_binput = on_put

    def on_get(self, argument: Any) -> None:
        self.stack.append(self.memo[argument])

    on_binget = on_long_binget = on_get

    def on_tuple(self, argument: Any) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def on_list(self, argument: Any) -> None:
        self.stack.append(self.pop_to_mark())

    def on_append(self, argument: Any) -> None:
        self._extend([self.pop()])

    def on_appends(self, argument: Any) -> None:
        self._extend(self.pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedPickle(f"items appended to a {type_name(self.stack[-1])}")
        self.stack[-1].extend(items)

    def on_additems(self, argument: Any) -> None:
        items = self.pop_to_mark()
        if type(self.stack[-1]) is not set:
            raise RefusedPickle(f"items added to a {type_name(self.stack[-1])}")
        self.stack[-1].update(map(plain_key, items))

    def on_dict(self, argument: Any) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self._set_items(items)

    def on_setitem(self, argument: Any) -> None:
        value = self.pop()
        self._set_items([self.pop(), value])

    def on_setitems(self, argument: Any) -> None:
        self._set_items(self.pop_to_mark())

    def _set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) not in (dict, Attributed):
            raise RefusedPickle(f"keys set on a {type_name(self.stack[-1])}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][plain_key(key)] = value

    def on_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_name(module, name)

    def on_stack_global(self, argument: Any) -> None:
        name, module = self.pop(), self.pop()
        self._push_name(module, name)

    def _push_name(self, module: Any, name: Any) -> None:
        text = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "a name that is no text"
        if text not in self.allowed:
            raise RefusedPickle(f"it refers to {safe_text(text)}")
        self.stack.append(Name(text))

    def on_reduce(self, argument: Any) -> None:
        arguments = self.pop()
        function = self.pop()
        builder = self.allowed.get(function.text) if isinstance(function, Name) else None
        if builder is None or type(arguments) is not tuple:
            raise RefusedPickle(
                f"it calls {safe_text(function.text) if isinstance(function, Name) else type_name(function)}"
            )
        self._charge(len(arguments) + sum(len(item) for item in arguments if isinstance(item, _SIZED)))
        self.stack.append(builder(*arguments))

    on_newobj = on_reduce

    def _charge(self, pieces: int) -> None:
        """Refuse calls that take more pieces than the file has bytes: one argument, handed over again and again."""
        self.built += pieces
        if self.built > self.position + _SLACK:
            raise RefusedPickle("it builds more than the file holds")

    def on_build(self, argument: Any) -> None:
        state = self.pop()
        build = getattr(self.stack[-1], "build", None)
        if build is None:
            raise RefusedPickle(f"state set on a {type_name(self.stack[-1])}")
        build(state)

    def on_persid(self, argument: Any) -> None:
        if self.persistent is None:
            raise RefusedPickle(
                f"persistent id {safe_text(argument) if isinstance(argument, str) else type_name(argument)}"
            )
        self._charge(len(argument) if isinstance(argument, _SIZED) else 1)
        self.stack.append(self.persistent(argument))

    def on_binpersid(self, argument: Any) -> None:
        self.on_persid(self.pop())
