"""`mae-finetune`: train, or score with -eval (no subcommand), `predict`, `export`, `report`. Help is free of Paddle."""

from collections.abc import Sequence

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs, run
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.command import train_or_score
from mae_core.stage.cli.export_command import export_config, export_parser, kind_of
from mae_core.stage.cli.flags import CFG_FLAG, PRETRAINED_FLAG, STAGE_FLAGS, stage_parser
from mae_core.stage.cli.report_command import add_compare, prepare_page, report_parser, write_page
from mae_core.stage.config.from_weights import load_config
from mae_core.stage.run.memory import explain
from mae_finetune import __version__

EPILOG = "also: mae-finetune predict --help, mae-finetune export --help, mae-finetune report --help"
DESCRIPTION = "Fine-tune the encoder of a masked autoencoder for classification (arXiv 2111.06377)."

PREDICT_FLAGS = (
    CFG_FLAG,
    PRETRAINED_FLAG,
    *(flag for flag in STAGE_FLAGS if flag.name in ("image_size", "amp")),
    Flag("batch_size", None, "images per forward pass (default 32)", int),
    Flag("class_names", "DATA.CLASS_NAMES", "file of a name a line, where the weights hold no names"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(_dispatch, argv, explain)


def _dispatch(argv: list[str]) -> None:
    commands = {"predict": _predict, "export": _export, "report": _report}
    if argv and argv[0] in commands:
        commands[argv[0]](argv[1:])
    else:
        train_or_score("mae_finetune", finetune_parser(), argv, commands)


def finetune_parser() -> Parser:
    """Build the parser of the command."""
    return stage_parser("mae-finetune", DESCRIPTION, __version__, EPILOG)


def predict_parser() -> Parser:
    """Build the parser of `predict`."""
    parser = Parser(prog="mae-finetune predict", description="Say what a fine-tuned classifier sees in images.")
    add_flags(parser, PREDICT_FLAGS)
    parser.add_argument("--topk", type=int, default=5, help="classes to name for each image (default 5)")
    parser.add_argument("--json", metavar="FILE|-", help="write predictions there, as JSON; - is standard output")
    parser.add_argument("--csv", metavar="FILE|-", help="the same as a table, a line for each image and class")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="config override")
    parser.add_argument("images", nargs="+", metavar="IMAGE|FOLDER", help="image files, and folders with some")
    return parser


def _predict(argv: list[str]) -> None:
    args = predict_parser().parse_intermixed_args(argv)
    if not args.pretrained:
        raise UserError("predict needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    if args.topk < 1 or (args.batch_size or 1) < 1:
        raise UserError("--topk and -batch_size take numbers from 1")
    import_paddle()
    from mae_finetune.config import RECIPE
    from mae_finetune.predict_command import run_predict

    pairs = [word for pair in args.set for word in pair]
    config = load_config(RECIPE, args.cfg, flag_pairs(args, PREDICT_FLAGS), pairs, whole=True)
    run_predict(config, args.images, topk=args.topk, batch_size=args.batch_size, json=args.json, csv=args.csv)


def _export(argv: list[str]) -> None:
    parser = export_parser("mae-finetune export", "Write a classifier for Paddle inference or as ONNX.")
    args = parser.parse_intermixed_args(argv)
    from mae_finetune.config import RECIPE

    config = export_config(args, RECIPE)
    from mae_finetune.export import export

    print(export(config, args.output, args.format, kind_of(args), args.min_agreement))


def _report(argv: list[str]) -> None:
    parser = report_parser("mae-finetune report")
    add_compare(parser)
    args = parser.parse_args(argv)
    path = prepare_page(args.run, args.output)
    import_paddle()
    from mae_finetune.report import run_page

    print(write_page(run_page(args.run, args.compare), path))
