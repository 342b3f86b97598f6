"""`mae-pretrain`: train (no subcommand) and the subcommands of COMMANDS. Help answers without importing Paddle."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags, run
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.command import train_or_score
from mae_core.stage.cli.export_command import export_config, export_parser, kind_of
from mae_core.stage.cli.flags import CFG_FLAG, PRETRAINED_FLAG, add_bands, stage_parser
from mae_core.stage.cli.report_command import add_images, prepare_page, report_parser, write_page
from mae_core.stage.run.memory import explain
from mae_pretrain import __version__

COMMANDS = ("visualize", "curve", "export", "report", "watch", "serve")
EPILOG = "also: " + ", ".join(f"mae-pretrain {name} --help" for name in COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(_dispatch, argv, explain)


def _dispatch(argv: list[str]) -> None:
    functions = (_visualize, _curve, _export, _report, _watch, _serve)
    commands = dict(zip(COMMANDS, functions, strict=True))
    if argv and argv[0] in commands:
        commands[argv[0]](argv[1:])
    else:
        train_or_score("mae_pretrain", train_parser(), argv, commands)


def _parser(command: str, description: str, **kwargs: Any) -> Parser:
    return Parser(prog=f"mae-pretrain{command}", description=description, **kwargs)


def train_parser() -> Parser:
    """Build the parser of the main command."""
    return stage_parser("mae-pretrain", "Pre-train a masked autoencoder (arXiv 2111.06377).", __version__, EPILOG)


def _visualize(argv: list[str]) -> None:
    parser = _parser(" visualize", "Draw original, masked, reconstruction and reconstruction + visible.")
    add_flags(parser, (CFG_FLAG, PRETRAINED_FLAG, Flag("output", None, "PNG to write (default reconstruction.png)")))
    parser.add_argument("--seed", type=int, default=0, help="draws the masks")
    parser.add_argument("--mask-ratio", type=float, help="instead of the config's")
    add_bands(parser)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="config override")
    parser.add_argument("images", nargs="+", help="image files")
    args = parser.parse_intermixed_args(argv)
    if not args.pretrained:
        raise UserError("visualize needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    import_paddle()
    from mae_core.stage.config.from_weights import load_config
    from mae_pretrain.config import RECIPE
    from mae_pretrain.visualize import visualize

    flags = {"MODEL.PRETRAINED": args.pretrained, "MODEL.MASK_RATIO": args.mask_ratio}
    flags = {key: value for key, value in flags.items() if value is not None}
    pairs = [word for pair in args.set for word in pair]
    config = load_config(RECIPE, args.cfg, flags, pairs, whole=True)
    print(visualize(config, args.images, args.output or "reconstruction.png", args.seed, args.bands))


def _curve(argv: list[str]) -> None:
    parser = _parser(" curve", "Draw the loss curves of runs.")
    add_flags(parser, (Flag("output", None, "PNG to write (default loss.png in the first run's folder)"),))
    parser.add_argument(
        "--smooth", type=float, default=0.0, metavar="W", help="weight of what came before, 0 to below 1"
    )
    parser.add_argument("--log", choices=("x", "y", "xy"), default="", help="logarithmic axes")
    parser.add_argument("runs", nargs="+", metavar="run", help="run folder")
    args = parser.parse_intermixed_args(argv)
    if not 0 <= args.smooth < 1:
        raise UserError(f"--smooth {args.smooth:g} is not a weight from 0 to below 1; 0.9 is a common one")
    from mae_pretrain.curve import draw_curve

    print(draw_curve(args.runs, args.output or f"{args.runs[0]}/loss.png", args.smooth, args.log))


def _export(argv: list[str]) -> None:
    parser = export_parser("mae-pretrain export", "Write the encoder's features, for Paddle inference or as ONNX.")
    parser.add_argument("--with-decoder", action="store_true", help="the whole autoencoder; noise is a second input")
    args = parser.parse_intermixed_args(argv)
    from mae_pretrain.config import RECIPE

    config = export_config(args, RECIPE)
    from mae_pretrain.export import export

    narrow = kind_of(args), args.min_agreement
    print(export(config, args.output, args.format, *narrow, with_decoder=args.with_decoder))


_IMAGES = "validation images to reconstruct"


def _report(argv: list[str]) -> None:
    parser = report_parser("mae-pretrain report")
    add_images(parser, _IMAGES)
    parser.add_argument("--scores", metavar="FILE", help="what -eval --json wrote (default RUN/eval/scores.json)")
    args = parser.parse_args(argv)
    path = prepare_page(args.run, args.output)
    import_paddle()
    from mae_pretrain.report import run_page

    print(write_page(run_page(args.run, args.images, args.scores), path))


def _server_parser(command: str, description: str) -> Parser:
    parser = _parser(command, f"{description} Ctrl-C ends it.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default 8000)")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is no port; give 1 to 65535, or 0 for a free one")
    return int(text)


def _watch(argv: list[str]) -> None:
    parser = _server_parser(" watch", "Serve the report of a run, made anew while it goes on.")
    add_images(parser, _IMAGES)
    parser.add_argument("run", help="run folder")
    args = parser.parse_args(argv)
    prepare_page(args.run, None)
    import_paddle()
    from mae_core.report.watch import watch
    from mae_pretrain.report import live_page

    watch(args.run, live_page(args.run, args.images), args.host, args.port)


def _serve(argv: list[str]) -> None:
    parser = _server_parser(" serve", "Serve a page that shows what a model makes of images that are dropped on it.")
    parser.add_argument("weights", help="run folder, checkpoint folder or weight file")
    parser.add_argument("-amp", "--amp", action="store_true", help="mixed precision (bfloat16)")
    args = parser.parse_args(argv)
    import_paddle()
    from mae_pretrain.web.server import serve

    serve(args.weights, args.host, args.port, args.amp)
