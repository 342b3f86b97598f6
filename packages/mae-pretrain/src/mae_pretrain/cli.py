"""`mae-pretrain`: train, or score with -eval (no subcommand), and the subcommands. Help does not import Paddle."""

import os
from argparse import Namespace
from collections.abc import Sequence

from mae_core.errors import UserError
from mae_core.process import log
from mae_core.process.command_line import Flag, Parser, add_flags, run
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.command import add_stage, stage_parser, train_or_score
from mae_core.stage.cli.export_command import add_export, export_config, narrow_kind
from mae_core.stage.cli.flags import (
    CFG_FLAG,
    MODEL_FLAG,
    PRETRAINED_FLAG,
    STAGE_FLAGS,
    add_address,
    add_bands,
    add_images,
    split_pairs,
)
from mae_core.stage.cli.report_command import add_count, add_run, add_watch, prepare_page, write_page
from mae_core.stage.run.system_limits import explain
from mae_pretrain import __version__
from mae_pretrain.advice.budget import seconds_of

ANNEAL = Flag(
    "anneal", "TRAIN.ANNEAL", "end a copy of the run that -resume names, of TRAIN.SCHEDULE wsd, from there", switch=True
)
FLAGS = (*STAGE_FLAGS, ANNEAL)
TEACHER = Flag(
    "pretrained",
    "MODEL.TEACHER",
    "the teacher: a run, checkpoint or Hugging Face folder, or a file of any published format (suffix optional)",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(make_parser().start, argv, explain)


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = stage_parser("mae_pretrain", "Pre-train a masked autoencoder (arXiv 2111.06377).", __version__, (ANNEAL,))
    parser.run = _train
    parser.epilog = f"{parser.epilog}, auto (chosen for the images and this machine)"
    add_flags(parser, (Flag("budget", None, "train about so long: 30m, 2h, 90s, 1d", seconds_of),))

    add_stage(
        parser, "mae_pretrain.refine", "refine a finished model: better features without labels (arXiv 2402.10093)"
    )
    add_stage(
        parser,
        "mae_pretrain.distill",
        "teach a smaller encoder to attend as a finished one does, without labels (arXiv 2205.14443)",
        (TEACHER, MODEL_FLAG),
    )

    drawing = parser.add_command("visualize", _visualize, "draw images, masked and as a model reconstructs them")
    add_flags(drawing, (CFG_FLAG, PRETRAINED_FLAG, Flag("output", None, "PNG to write (default reconstruction.png)")))
    drawing.add_argument("--seed", type=int, default=0, help="draws the masks")
    drawing.add_argument("--mask-ratio", type=float, help="instead of the config's")
    add_bands(drawing)
    add_images(drawing, "image", "image files")

    curve = parser.add_command("curve", _curve, "draw the loss curves of runs")
    add_flags(curve, (Flag("output", None, "PNG to write (default loss.png in the first run's folder)"),))
    smooth = "weight of what came before, 0 to below 1"
    curve.add_argument("--smooth", type=float, default=0.0, metavar="W", help=smooth)
    curve.add_argument("--log", choices=("x", "y", "xy"), default="", help="logarithmic axes")
    curve.add_argument("runs", nargs="+", metavar="run", help="run folder")

    export = parser.add_command("export", _export, "write the encoder's features, for Paddle inference or as ONNX")
    export.add_argument("--with-decoder", action="store_true", help="the whole autoencoder; noise is a second input")
    add_export(export)

    report = parser.add_command("report", _report, "write what a run did as one HTML file that needs nothing beside it")
    add_run(report)
    add_count(report, "validation images to reconstruct", 6)
    report.add_argument("--scores", metavar="FILE", help="what -eval --json wrote (default RUN/eval/scores.json)")

    add_count(add_watch(parser, _watch), "validation images to reconstruct", 6)

    serve = parser.add_command("serve", _serve, "serve a page that shows what a model makes of images dropped on it")
    add_address(serve)
    serve.add_argument("weights", help="run folder, checkpoint folder or weight file")
    serve.add_argument("-amp", "--amp", action="store_true", help="mixed precision (bfloat16)")
    return parser


def _train(args: Namespace) -> None:
    """Train, by what `-cfg auto` and `--budget` choose where they are given."""
    lines: list[str] = []
    if (args.cfg == "auto" or args.budget) and args.help_config is None:
        import_paddle()
        from mae_pretrain.advice.auto import resolve
        from mae_pretrain.train import build_run

        log.setup(main=not int(os.environ.get("PADDLE_TRAINER_ID") or 0))
        lines = resolve(args, FLAGS, build_run)
    if not args.dry_run:
        log.log_lines(lines)
    train_or_score("mae_pretrain", FLAGS, args)
    if args.dry_run:  # where they are seen: a whole config is printed before
        log.log_lines(lines)


def _visualize(args: Namespace) -> None:
    if not args.pretrained:
        raise UserError("visualize needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    import_paddle()
    from mae_core.stage.config.from_weights import load_config
    from mae_pretrain.config import RECIPE
    from mae_pretrain.visualize import visualize

    images, pairs = split_pairs(args, RECIPE)
    flags = {"MODEL.PRETRAINED": args.pretrained, "MODEL.MASK_RATIO": args.mask_ratio}
    flags = {key: value for key, value in flags.items() if value is not None}
    opened = load_config(RECIPE, args.cfg, flags, pairs, whole=True)
    output = args.output or "reconstruction.png"
    print(visualize(opened.config, opened.weights, images, output, args.seed, args.bands))


def _curve(args: Namespace) -> None:
    if not 0 <= args.smooth < 1:
        raise UserError(f"--smooth {args.smooth:g} is not a weight from 0 to below 1; 0.9 is a common one")
    from mae_pretrain.curve import draw_curve

    print(draw_curve(args.runs, args.output or f"{args.runs[0]}/loss.png", args.smooth, args.log))


def _export(args: Namespace) -> None:
    from mae_pretrain.config import RECIPE

    opened = export_config(args, RECIPE)
    from mae_pretrain.export import export

    narrow = narrow_kind(args), args.min_agreement
    print(export(opened.config, opened.weights, args.output, args.format, *narrow, with_decoder=args.with_decoder))


def _report(args: Namespace) -> None:
    path = prepare_page(args.run, args.output)
    import_paddle()
    from mae_pretrain.report import run_page

    print(write_page(run_page(args.run, args.images, args.scores), path))


def _watch(args: Namespace) -> None:
    prepare_page(args.run, None)
    import_paddle()
    from mae_core.report.http_server import watch
    from mae_pretrain.report import run_page

    watch(args.run, lambda: run_page(args.run, args.images), args.host, args.port)


def _serve(args: Namespace) -> None:
    import_paddle()
    from mae_pretrain.web.application import serve_model

    serve_model(args.weights, args.host, args.port, args.amp)
