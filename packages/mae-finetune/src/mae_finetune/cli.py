"""`mae-finetune`: train, or score with -eval (no subcommand), `export`. Help answers without importing Paddle."""

from collections.abc import Sequence

from mae_core.command_line import Parser, run
from mae_core.stage.command import train_or_score
from mae_core.stage.export import export_config, export_parser
from mae_core.stage.flags import stage_parser
from mae_core.stage.memory import explain
from mae_finetune import __version__

EPILOG = "also: mae-finetune export --help"
DESCRIPTION = "Fine-tune the encoder of a masked autoencoder for classification (arXiv 2111.06377)."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(_dispatch, argv, explain)


def _dispatch(argv: list[str]) -> None:
    commands = {"export": _export}
    if argv and argv[0] in commands:
        commands[argv[0]](argv[1:])
    else:
        train_or_score("mae_finetune", finetune_parser(), argv, commands)


def finetune_parser() -> Parser:
    """Build the parser of the command."""
    return stage_parser("mae-finetune", DESCRIPTION, __version__, EPILOG)


def _export(argv: list[str]) -> None:
    parser = export_parser("mae-finetune export", "Write a classifier for Paddle inference or as ONNX.")
    args = parser.parse_intermixed_args(argv)
    from mae_finetune.config import RECIPE

    config = export_config(args, RECIPE)
    from mae_finetune.export import export

    print(export(config, args.output, args.format))
