"""`--completion bash|zsh`: what shtab writes for a stage's command, its subcommands and its config keys."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mae_core.process.command_line import Parser


class Completion(argparse.Action):
    """Prints a script for a shell and ends the command, as `--version` does.

    Args:
        package: import name of the stage.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, package: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, choices=("bash", "zsh"), **kwargs)
        self.package = package

    def __call__(self, parser: Any, namespace: Any, shell: Any, option_string: str | None = None) -> None:
        print(completion_script(parser, shell, list(import_module(f"{self.package}.config").RECIPE.keys)))
        parser.exit()


def completion_script(parser: Parser, shell: str, keys: Sequence[str]) -> str:
    """Return a script that completes subcommands, flags with their values, file names and `KEY VALUE` words."""
    import shtab

    for action in (action for command in (parser, *parser.commands.values()) for action in command._actions):
        if action.dest == "pairs":
            action.choices = keys
        elif action.nargs != 0 and not action.choices and action.type not in (int, float):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    (words,) = (action for action in parser._actions if action.dest == "pairs")
    words.choices = [*parser.commands, *keys]
    name, preamble = shtab.wordify(f"_shtab_{parser.prog}"), ""
    if shell == "zsh":  # a first word that may be a key hides the subcommands there, so these bring the keys
        words.help = argparse.SUPPRESS
        preamble = f"functions[{name}_commands]+=$'\\ncompadd -- {' '.join(keys)}'"
    # Our parser hides its subcommands from argparse's own parsing, and so from shtab.
    whole = argparse.ArgumentParser(prog=parser.prog, parents=[parser], add_help=False)
    return str(shtab.complete(whole, shell, preamble=preamble))
