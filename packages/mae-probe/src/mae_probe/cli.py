"""`mae-probe`: train a linear probe, or score one with -eval. Help answers without importing Paddle."""

from collections.abc import Sequence

from mae_core.cli import STAGE_FLAGS, Parser, flag_pairs, run, stage_parser
from mae_core.runtime import import_paddle
from mae_probe import __version__

DESCRIPTION = "Train a linear classifier on the frozen features of a masked autoencoder (arXiv 2111.06377)."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(_probe, argv)


def probe_parser() -> Parser:
    """Build the parser of the main command."""
    return stage_parser("mae-probe", DESCRIPTION, __version__)


def _probe(argv: list[str]) -> None:
    args = probe_parser().parse_intermixed_args(argv)
    from mae_probe.config import RECIPE

    config = RECIPE.load(args.cfg, flag_pairs(args, STAGE_FLAGS), args.pairs)
    import_paddle()
    if config.EVAL:
        from mae_probe.evaluate import evaluate

        evaluate(config)
    else:
        from mae_probe.train import train

        train(config, args.allow_drift)
