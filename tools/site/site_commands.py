"""Every command and subcommand of the five packages, as its parser declares it."""

import argparse
import re
from collections.abc import Callable, Iterator
from importlib import import_module

from mae_core.process.command_line import parser_of

_STAGES = ("mae_pretrain", "mae_finetune", "mae_probe")


def commands_page() -> str:
    """Return all commands with their flags, in markdown."""
    return "\n".join(line for parser in parsers() for line in _described(parser))


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of each command and subcommand."""
    for package in _STAGES:
        dispatch = import_module(f"{package}.cli")._dispatch
        yield from _with_subcommands(dispatch, parser_of(dispatch))
    core = import_module("mae_core.weights.cli")
    yield parser_of(lambda argv: core._main(["--", *argv]))
    yield from (parser_of(command) for command in core._COMMANDS.values())
    data = import_module("mae_data.cli")._build_parser()
    yield data
    for action in data._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _with_subcommands(
    dispatch: Callable[[list[str]], None], main: argparse.ArgumentParser
) -> Iterator[argparse.ArgumentParser]:
    """Yield a stage's main parser and those that its last line of help names."""
    yield main
    for name in re.findall(rf"{main.prog} (\w+) --help", main.epilog or ""):
        yield parser_of(lambda argv, name=name: dispatch([name, *argv]))  # type: ignore[misc]


def _described(parser: argparse.ArgumentParser) -> Iterator[str]:
    level = "##" if " " not in parser.prog else "###"
    usage = re.sub(r"\s+", " ", parser.format_usage()).strip()
    yield from (f"{level} {parser.prog}", "", parser.description or "", "", "```text", *_wrapped(usage), "```", "")
    yield from ("| argument | meaning |", "| --- | --- |")
    for action in parser._actions:
        if action.help is not argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction):
            yield f"| {_spelling(action, parser)} | {_meaning(action, parser)} |"
    yield ""


def _wrapped(usage: str) -> Iterator[str]:
    """Break a usage line between its arguments."""
    head, *words = re.findall(r"usage: \S+(?: [a-z-]+(?= ))?|\[[^\]]*\]+|\S+", usage)
    line = head
    for word in words:
        if len(line) + len(word) > 84:
            yield line
            line = "   "
        line += f" {word}"
    yield line


def _spelling(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    value = parser._get_formatter()._format_args(action, action.dest.upper() if action.option_strings else action.dest)
    names = [f"`{name}`" for name in action.option_strings] or [f"`{value}`"]
    return ", ".join(names) + (f" `{value}`" if action.option_strings and action.nargs != 0 else "")


def _meaning(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    choices = f" ({' or '.join(map(str, action.choices))})" if action.choices else ""
    return re.sub(r"([|<*_])", r"\\\1", text + choices)
