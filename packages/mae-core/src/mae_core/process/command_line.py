"""Command lines: flags declared once with both spellings, errors in one line."""

import argparse
import atexit
import difflib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from mae_core.errors import Stopped, UserError
from mae_core.process import log, signals, stdio, watchdog


def given(text: str) -> str:
    """Take a name or a path that is not empty: that would mean the current folder, or that the flag was not given.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty text names nothing; leave the flag out, or give a name")
    return text


Run = Callable[[argparse.Namespace], None]


@dataclass(frozen=True)
class Flag:
    """A flag `-name` / `--na-me` that sets one config key.

    Args:
        key: dotted config key; None when the stage reads the flag itself.
        switch: whether the flag takes no value, and means True.
    """

    name: str
    key: str | None
    help: str
    type: Callable[[str], Any] = given
    switch: bool = False


class Parser(argparse.ArgumentParser):
    """ArgumentParser without abbreviations, with one-line errors, and with subcommands beside words of its own.

    Args:
        run: what the command does with its arguments; None where it needs a subcommand.
    """

    def __init__(self, run: Run | None = None, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self.run = run
        self.commands: dict[str, Parser] = {}

    def add_command(self, name: str, run: Run, text: str, **kwargs: Any) -> "Parser":
        """Declare a subcommand.

        Args:
            text: what it does, without a full stop: its line in the help of this command.
        """
        if self._subparsers is None:
            self._listed = self.add_subparsers(title="commands", metavar="COMMAND", prog=self.prog)
        description = f"{text[0].upper()}{text[1:]}."
        self.commands[name] = self._listed.add_parser(name, help=text, description=description, run=run, **kwargs)
        return self.commands[name]

    def start(self, argv: Sequence[str]) -> None:
        """Run the subcommand that the arguments begin with, or this command; without arguments, print the help."""
        if argv and argv[0] in self.commands:
            self.commands[argv[0]].start(argv[1:])
        elif self.commands and not argv:
            self.print_help()
        elif argv and (close := self._nearest(argv[0])):
            self.error(f"{argv[0]!r} is no command; nearest is {close}")
        elif self.run:
            self.run(self.parse_intermixed_args(argv))
        elif argv[0].startswith("-"):
            self.parse_args(argv)
        else:
            self.error(f"{argv[0]!r} is no command; there are {', '.join(self.commands)}")

    def _nearest(self, word: str) -> str | None:
        """Return the subcommand that a first word may be a slip of; flags, keys and paths are none."""
        close = difflib.get_close_matches(word, self.commands, n=1, cutoff=0.7)
        return close[0] if close and not os.path.exists(word) else None

    def _get_positional_actions(self) -> list[argparse.Action]:
        """Leave the subcommands to `start`: argparse would take any first word for one."""
        return [action for action in super()._get_positional_actions() if action.nargs != argparse.PARSER]

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        return []  # allow_abbrev=False leaves abbreviations of `-flag` spellings working

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def image_size(text: str) -> int | list[int]:
    """Read `96`, or `64x96`: height and width."""
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not PIXELS or HEIGHTxWIDTH, such as 224 or 64x96")
    return sides[0] if len(sides) == 1 else sides


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """Declare flags; an absent flag is None."""
    for flag in flags:
        spellings = [f"-{flag.name}", f"--{flag.name.replace('_', '-')}"]
        declare = partial(parser.add_argument, *dict.fromkeys(spellings), dest=flag.name, default=None, help=flag.help)
        if flag.switch:
            declare(action="store_true")
        else:
            declare(type=flag.type, metavar=flag.name.upper())


def flag_pairs(args: argparse.Namespace, flags: Sequence[Flag]) -> dict[str, object]:
    """Return {config key: value} of the flags that were given."""
    values = {flag.key: getattr(args, flag.name) for flag in flags if flag.key}
    return {key: value for key, value in values.items() if value is not None}


Explain = Callable[[Exception], Exception]
_INTERRUPTED, _READER_LEFT = 130, 141  # 128 + SIGINT, 128 + SIGPIPE, as other programs exit


def run(
    main: Callable[[list[str]], None], argv: Sequence[str] | None = None, explain: Explain = lambda error: error
) -> int:
    """Run a console script's body; return the exit code.

    An exception with an `exit_code` is the user's to mend: one line on standard error, no traceback
    unless `--debug` is among the arguments. So is Ctrl-C, which exits with 130.

    Args:
        explain: turns an error of a library into one of ours, where the user can mend it.
    """
    stdio.open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    with _noting_interrupt() as interrupts, signals.leaving():
        try:
            main([a for a in arguments if a != "--debug"])
        except SystemExit as done:  # what argparse ends --help with, or a signal
            code = int(done.code or 0)
            if code:
                watchdog.fail(Stopped("ended by a signal", code), code)
            return _lost_output(_flush_output()) or code
        except (Exception, KeyboardInterrupt) as error:
            if interrupts or isinstance(error, KeyboardInterrupt):  # compiled code may have made it another error
                watchdog.fail(Stopped("interrupted by Ctrl-C", _INTERRUPTED), _INTERRUPTED)
                _refuse("interrupted by Ctrl-C", _INTERRUPTED)
                return _INTERRUPTED if argv is not None else _end_process(_INTERRUPTED)
            if argv is None and isinstance(error, Stopped):  # this process ends with it
                signals.settle()
            return _fail(error, explain(error), debug)
        finally:
            log.use_stderr(False)  # of this command alone; the process may go on
    watchdog.done()
    return _lost_output(_flush_output())


def _end_process(code: int) -> NoReturn:
    """End with this code: Python itself would end by SIGINT where an `exec` of text, as in dataclasses, saw it."""
    atexit._run_exitfuncs()
    _flush_output()
    os._exit(code)


def _flush_output(error: Exception | None = None) -> OSError | None:
    """Flush standard output; return why that fails, or None.

    Args:
        error: what ended the command. Where it may be of an unbuffered standard output, one more line shows it.
    """
    try:
        if isinstance(error, OSError) and error.filename is None:
            sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError as failure:
        return failure
    return None


def _lost_output(failure: OSError | None) -> int:
    """Report output that was lost, unless the reader has seen enough, as `head` does; return the exit code."""
    if failure is None:
        return 0
    stdio.lose(sys.stdout, failure)
    if isinstance(failure, BrokenPipeError):
        return _READER_LEFT
    return _refuse(f"error: standard output cannot be written ({failure.strerror})", UserError.exit_code)


@contextmanager
def _noting_interrupt() -> Iterator[list[int]]:
    """Give a list that Ctrl-C fills, which raises KeyboardInterrupt as ever; who ignores it goes on ignoring it."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ours = usual and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _fail(error: Exception, explained: Exception, debug: bool) -> int:
    """Print what went wrong; return the exit code."""
    if failure := _flush_output(error):
        lost = _lost_output(failure)
        if isinstance(error, OSError) and (error.errno, error.filename) == (failure.errno, None):
            return lost  # it was nothing else
    code = getattr(explained, "exit_code", None)
    if debug or code is None:
        stdio.print_line("".join(traceback.format_exception(error)).rstrip(), sys.stderr)
    watchdog.fail(explained, code or 1)
    return 1 if code is None else _refuse(f"error: {explained}", int(code))


def _refuse(line: str, code: int) -> int:
    """Print a line without what would control a terminal, as names of files may; return the exit code."""
    plain = "".join(c if (c >= " " and c != "\x7f") or c == "\n" else "?" for c in line)
    stdio.print_line(stdio.red(plain, sys.stderr, os.environ), sys.stderr)
    return code
