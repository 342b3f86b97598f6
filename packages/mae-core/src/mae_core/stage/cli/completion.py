"""`--completion bash|zsh`: a script to source, written from the parsers themselves."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from mae_core.process.command_line import Parser, parser_of

SHELLS = ("bash", "zsh")
Commands = Mapping[str, Callable[[list[str]], None]]

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


def completion_script(shell: str, parser: Parser, commands: Commands, words: Sequence[str]) -> str:
    """Return a script that completes a command's flags, subcommands and config keys, and file names else.

    Args:
        shell: one of SHELLS; zsh reads bash's script through `bashcompinit`.
        parser: of the main command.
        commands: the subcommands; each is asked for its parser.
        words: further ones of the main command: its config keys.
    """
    main = [*commands, *_flags(parser), *words]
    cases = [f'    {command}) words="{" ".join(_flags(parser_of(run)))}" ;;' for command, run in commands.items()]
    cases.append(f'    *) words="{" ".join(main)}" ;;')
    name = parser.prog.replace("-", "_")
    script = _BASH.format(prog=parser.prog, name=name, cases="\n".join(cases))
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [spelling for action in parser._actions for spelling in action.option_strings]
