"""`mae-probe`: train or score a linear probe (no subcommand), and the subcommands. Help does not import Paddle."""

from argparse import Namespace
from collections.abc import Sequence

from mae_core.process.command_line import Flag, Parser, add_flags, run
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.command import stage_parser
from mae_core.stage.cli.flags import STAGE_FLAGS, add_bands, add_images, split_pairs
from mae_core.stage.cli.report_command import add_compare, add_count, add_run, add_watch, prepare_page, write_page
from mae_core.stage.run.system_limits import explain
from mae_probe import __version__
from mae_probe.commands.classify import add_knn, add_logistic
from mae_probe.commands.features import add_features
from mae_probe.commands.flags import OWN_FLAGS, PROBED_FLAG, open_config, split_choices
from mae_probe.commands.map import add_map
from mae_probe.commands.segment import add_segment

DESCRIPTION = "Train a linear classifier on the frozen features of a masked autoencoder (arXiv 2111.06377)."
MODEL_FLAGS = tuple(flag for flag in STAGE_FLAGS if flag.name in ("cfg", "image_size", "pretrained"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda words: make_parser().start(split_choices(words)), argv, explain)


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = stage_parser("mae_probe", DESCRIPTION, __version__, (*OWN_FLAGS, PROBED_FLAG))
    add_features(parser)
    add_knn(parser)
    add_logistic(parser)
    add_segment(parser)
    add_map(parser)

    attention = parser.add_command("attention", _attention, "draw what the class token attends to, head by head")
    add_flags(attention, MODEL_FLAGS)
    add_flags(attention, (Flag("output", None, "folder for the PNG files (default attention)"),))
    add_bands(attention)
    add_images(attention, "image", "image files")

    report = parser.add_command("report", _report, "write what a run did as one HTML file that needs nothing beside it")
    add_run(report)
    add_compare(report)
    add_count(report, "attention maps of so many validation images", 3)

    watch = add_watch(parser, _watch)
    add_compare(watch)
    add_count(watch, "attention maps of so many validation images", 3)
    return parser


def _attention(args: Namespace) -> None:
    from mae_probe.config import RECIPE

    images, pairs = split_pairs(args, RECIPE)
    opened = open_config(args, MODEL_FLAGS, pairs)
    import_paddle()
    from mae_probe.attention import draw_attention

    for path in draw_attention(opened, images, args.output or "attention", args.bands):
        print(path)


def _report(args: Namespace) -> None:
    path = prepare_page(args.run, args.output)
    import_paddle()
    from mae_probe.report import run_page

    print(write_page(run_page(args.run, args.compare, args.images), path))


def _watch(args: Namespace) -> None:
    prepare_page(args.run, None)
    import_paddle()
    from mae_core.report.http_server import watch
    from mae_probe.report import run_page

    watch(args.run, lambda: run_page(args.run, args.compare, args.images), args.host, args.port)
