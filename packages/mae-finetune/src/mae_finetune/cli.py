"""`mae-finetune`: train, or score with -eval (no subcommand), and the subcommands. Help does not import Paddle."""

from argparse import Namespace
from collections.abc import Sequence

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs, run
from mae_core.process.runtime import import_paddle
from mae_core.report.page import Page
from mae_core.stage.cli.command import stage_parser
from mae_core.stage.cli.export_command import add_export, export_config, narrow_kind
from mae_core.stage.cli.flags import (
    CFG_FLAG,
    PRETRAINED_FLAG,
    STAGE_FLAGS,
    add_address,
    add_images,
    add_windows,
    require_overlap,
    split_pairs,
)
from mae_core.stage.cli.report_command import add_compare, add_run, add_watch, prepare_page, write_page
from mae_core.stage.run.system_limits import explain
from mae_finetune import __version__

DESCRIPTION = "Fine-tune the encoder of a masked autoencoder (arXiv 2111.06377): MODEL.TASK says for what."
_MAP = (
    "with --windows: write a GeoTIFF for each image there, with its coordinates: class and all probabilities of each"
    " step between windows (extra geo of mae-data)"
)
PREDICT_FLAGS = (
    CFG_FLAG,
    PRETRAINED_FLAG,
    *(flag for flag in STAGE_FLAGS if flag.name in ("image_size", "amp")),
    Flag("batch_size", None, "images per forward pass (default 32)", int),
    Flag("class_names", "DATA.CLASS_NAMES", "file of a name a line, where the weights hold no names"),
)


_MASKS = (
    "of a segmentation model, write the class of each pixel there: GeoTIFF of an image that says where it lies, else"
    " PNG with a palette"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(make_parser().start, argv, explain)


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = stage_parser("mae_finetune", DESCRIPTION, __version__)

    predict = parser.add_command("predict", _predict, "say what a fine-tuned model sees in images")
    add_flags(predict, PREDICT_FLAGS)
    predict.add_argument(
        "--topk", type=int, help="classes to name for each image (default 5), of models that tell classes apart"
    )
    predict.add_argument("--json", metavar="FILE|-", help="write predictions there, as JSON; - is standard output")
    predict.add_argument(
        "--csv",
        metavar="FILE|-",
        help="the same as a table: a line for each image and class, or a column for each label or number",
    )
    add_windows(predict)
    predict.add_argument("--map", metavar="FOLDER", help=_MAP)
    predict.add_argument("--masks", metavar="FOLDER", help=_MASKS)
    predict.add_argument(
        "--probabilities", action="store_true", help="beside each mask, FOLDER/NAME.npy float16 [K, H, W]"
    )
    add_images(predict, "IMAGE|FOLDER", "image files, and folders with some")

    add_export(parser.add_command("export", _export, "write a model for Paddle inference or as ONNX"))

    serve = parser.add_command("serve", _serve, "serve a page that shows what a model says of images dropped on it")
    add_address(serve)
    serve.add_argument("weights", help="run folder, checkpoint folder or weight file")
    serve.add_argument("-amp", "--amp", action="store_true", help="mixed precision (bfloat16)")

    report = parser.add_command("report", _report, "write what a run did as one HTML file that needs nothing beside it")
    add_run(report)
    add_compare(report)
    add_compare(add_watch(parser, _watch))
    return parser


def _predict(args: Namespace) -> None:
    if not args.pretrained:
        raise UserError("predict needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    if any(number is not None and number < 1 for number in (args.topk, args.batch_size)):
        raise UserError("--topk and -batch_size take numbers from 1")
    if args.probabilities and not args.masks:
        raise UserError("--probabilities lie beside masks: add --masks FOLDER")
    if args.map and args.windows is None:
        raise UserError("--map draws windows: add --windows OVERLAP")
    import_paddle()
    from mae_core.stage.config.from_weights import load_config
    from mae_finetune.config import RECIPE
    from mae_finetune.prediction.command import PredictionFiles, run_predict
    from mae_finetune.prediction.predictor import BATCH_SIZE

    images, pairs = split_pairs(args, RECIPE)
    opened = load_config(RECIPE, args.cfg, flag_pairs(args, PREDICT_FLAGS), pairs, whole=True)
    require_overlap(args.windows, opened.config.DATA.IMAGE_SIZE)
    files = PredictionFiles(args.json, args.csv, args.map, args.masks, args.probabilities)
    batch_size = args.batch_size or BATCH_SIZE
    run_predict(opened, images, files, topk=args.topk, batch_size=batch_size, overlap=args.windows)


def _export(args: Namespace) -> None:
    from mae_finetune.config import RECIPE

    opened = export_config(args, RECIPE)
    from mae_finetune.export import export

    print(export(opened, args.output, args.format, narrow_kind(args), args.min_agreement))


def _serve(args: Namespace) -> None:
    import_paddle()
    from mae_finetune.web.served_run import ServedRun

    ServedRun.load(args.weights, args.amp).server(args.host).run(args.port, f"shows {args.weights}")


def _report(args: Namespace) -> None:
    path = prepare_page(args.run, args.output)
    import_paddle()
    print(write_page(_page(args), path))


def _watch(args: Namespace) -> None:
    prepare_page(args.run, None)
    import_paddle()
    from mae_core.report.http_server import watch

    watch(args.run, lambda: _page(args), args.host, args.port)


def _page(args: Namespace) -> Page:
    from mae_core.report.run_files import read_run
    from mae_finetune.tasks import task_named

    recorded = read_run(args.run).config.get("MODEL", {})
    return task_named(recorded.get("TASK", "classify")).page(args.run, args.compare)
