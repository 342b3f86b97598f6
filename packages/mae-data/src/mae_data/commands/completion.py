"""`mae-data --completion bash|zsh`: a script to source, written from the parsers themselves."""

import argparse
from collections.abc import Sequence
from typing import Any

SHELLS = ("bash", "zsh")

_BASH = """# {prog}: source this, or write it to a file that your shell reads at its start
_{name}() {{
  local words=""
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _{name} {prog}
"""


class CompletionAction(argparse.Action):
    """Prints the script for a shell and ends the command, as `--version` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        print(completion_script(str(values), parser), end="")
        parser.exit()


def completion_script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return a script that completes flags and subcommands, and file names else.

    Args:
        shell: One of SHELLS; zsh reads bash's script through `bashcompinit`.
        parser: Of the whole command, with one level of subcommands.
    """
    commands = {name: sub for action in parser._actions for name, sub in _subcommands(action).items()}
    cases = [f'    {name}) words="{" ".join(_flags(sub))}" ;;' for name, sub in commands.items()]
    cases.append(f'    *) words="{" ".join([*commands, *_flags(parser)])}" ;;')
    name = parser.prog.replace("-", "_")
    script = _BASH.format(prog=parser.prog, name=name, cases="\n".join(cases))
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script


def _subcommands(action: argparse.Action) -> dict[str, argparse.ArgumentParser]:
    return dict(action.choices) if isinstance(action, argparse._SubParsersAction) else {}


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [spelling for action in parser._actions for spelling in action.option_strings]
