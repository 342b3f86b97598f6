"""What a main command answers instead of training: `--help-config`, `--completion`. Needs no Paddle."""

from argparse import Namespace
from importlib import import_module

from mae_core.process.command_line import Parser
from mae_core.stage.cli.completion import Commands, completion_script
from mae_core.stage.config.help import help_lines, json_schema
from mae_core.stage.config.recipe import Recipe


def answer(args: Namespace, package: str, parser: Parser, commands: Commands) -> str | None:
    """Return the answer to what was asked; None where nothing was.

    Raises:
        ConfigError: there is no such key.
    """
    recipe: Recipe = import_module(f"{package}.config").RECIPE
    if args.completion:
        return completion_script(args.completion, parser, commands, list(recipe.keys))
    if args.help_config is None:
        return None
    return json_schema(recipe) if args.json else "\n".join(help_lines(recipe, args.help_config))
