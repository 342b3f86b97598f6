"""Every command and subcommand of the five packages, as its parser declares it."""

import argparse
import re
from collections.abc import Iterator
from importlib import import_module

_PACKAGES = ("mae_pretrain", "mae_finetune", "mae_probe", "mae_core", "mae_data")


def commands_page() -> str:
    """Return all commands with their flags, in markdown."""
    return "\n".join(line for parser in parsers() for line in _described(parser))


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of each command and subcommand."""
    for package in _PACKAGES:
        parser = import_module(f"{package}.cli").make_parser()
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from action.choices.values()


def _described(parser: argparse.ArgumentParser) -> Iterator[str]:
    level = "##" if " " not in parser.prog else "###"
    usage = parser.format_usage().strip()
    lines = usage.splitlines() if parser.usage else _wrapped(re.sub(r"\s+", " ", usage))
    yield from (f"{level} {parser.prog}", "", parser.description or "", "", "```text", *lines, "```", "")
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
