"""Command lines: flags declared once with both spellings, errors in one line."""

import argparse
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mae_core import rank_watch, signals
from mae_core.errors import Stopped, UserError


@dataclass(frozen=True)
class Flag:
    """A flag `-name` / `--na-me` that sets one config key.

    Args:
        key: dotted config key; None when the stage reads the flag itself.
        options: more arguments of `add_argument`.
    """

    name: str
    key: str | None
    help: str
    type: Callable[[str], Any] = str
    options: dict[str, Any] | None = None


class Parser(argparse.ArgumentParser):
    """ArgumentParser without abbreviations and with one-line errors."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        return []  # allow_abbrev=False leaves abbreviations of `-flag` spellings working

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """Declare flags; an absent flag is None."""
    for flag in flags:
        spellings = [f"-{flag.name}", f"--{flag.name.replace('_', '-')}"]
        options = flag.options or {"type": flag.type, "metavar": flag.name.upper()}
        parser.add_argument(*dict.fromkeys(spellings), dest=flag.name, default=None, help=flag.help, **options)


def flag_pairs(args: argparse.Namespace, flags: Sequence[Flag]) -> dict[str, Any]:
    """Return {config key: value} of the flags that were given."""
    values = {flag.key: getattr(args, flag.name) for flag in flags if flag.key}
    return {key: value for key, value in values.items() if value is not None}


def run(main: Callable[[list[str]], None], argv: Sequence[str] | None = None) -> int:
    """Run a console script's body; return the exit code.

    An exception with an `exit_code` is the user's to mend: one line on standard error, no traceback
    unless `--debug` is among the arguments.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        with signals.leaving():
            main([a for a in arguments if a != "--debug"])
    except KeyboardInterrupt as error:
        rank_watch.fail(error, 130)
        return 130
    except SystemExit as end:  # --help, or a signal
        if end.code:
            rank_watch.fail(Stopped("ended by a signal", int(end.code)), int(end.code))
        raise
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if debug or code is None:
            traceback.print_exc()
        rank_watch.fail(error, code or 1)
        if code is not None:
            print(f"error: {error}", file=sys.stderr)
        return 1 if code is None else int(code)
    rank_watch.done()
    return 0
