"""The flags that the command lines of all stages share."""

from mae_core.model_sizes import PRESET_NAMES
from mae_core.process.command_line import Flag, Parser, add_flags, image_size
from mae_core.process.runtime import version_line
from mae_core.stage.cli.completion import SHELLS

_ON = {"action": "store_true"}
CFG_FLAG = Flag("cfg", None, "YAML config: a file, or the name of a packaged one")
PRETRAINED_FLAG = Flag(
    "pretrained",
    "MODEL.PRETRAINED",
    "weights: a run, checkpoint or Hugging Face folder, or a file of any published format (suffix optional)",
)
MODEL_FLAG = Flag("model", None, f"sizes of a published model: {', '.join(n for n in PRESET_NAMES if n[0] == 'v')}")
STAGE_FLAGS = (
    CFG_FLAG,
    MODEL_FLAG,
    Flag("dataset", "DATA.DATASET", "of PaddleViT's commands: imagenet2012 alone is taken, without effect"),
    Flag("data_path", "DATA.DATA_PATH", "folder with train_list.txt, val_list.txt and the images"),
    Flag("batch_size", "DATA.BATCH_SIZE", "images per rank and forward pass", int),
    Flag("batch_size_eval", "DATA.BATCH_SIZE_EVAL", "images per rank in validation and -eval, if not -batch_size", int),
    Flag(
        "image_size",
        "DATA.IMAGE_SIZE",
        "pixels, 224 or 64x96 (height x width), whole patches",
        image_size,
    ),
    Flag("accum_iter", "TRAIN.ACCUM_ITER", "forward passes per update", int),
    Flag("output", "SAVE", "run folder: log, config, checkpoints"),
    PRETRAINED_FLAG,
    Flag("resume", "MODEL.RESUME", "run or checkpoint folder to go on from; auto: the -output folder, or anew"),
    Flag("last_epoch", "TRAIN.LAST_EPOCH", "of PaddleViT's commands: 0 alone is taken; -resume knows its epoch", int),
    Flag("eval", "EVAL", "score -pretrained on the validation list and stop", options=_ON),
    Flag("amp", "AMP", "mixed precision (bfloat16 unless AMP_DTYPE float16)", options=_ON),
)


def add_bands(parser: Parser) -> None:
    """Add the flag of commands that draw images which may have any channels."""
    parser.add_argument(
        "--bands",
        nargs=3,
        type=int,
        metavar=("R", "G", "B"),
        help="channels to show as red, green and blue, from 0 (default: the first three); three times the same: grey",
    )


def stage_parser(prog: str, description: str, version: str, epilog: str | None = None) -> Parser:
    """Build the parser of a stage's main command."""
    parser = Parser(prog=prog, description=description, epilog=epilog)
    parser.add_argument("--version", action="version", version=version_line(prog, version))
    add_flags(parser, STAGE_FLAGS)
    parser.add_argument(
        "--allow-drift", action="append", default=[], metavar="KEY", help="let KEY differ when resuming"
    )
    add_json(parser)
    parser.add_argument("--dry-run", action="store_true", help="say config, data, steps, time, memory; write nothing")
    help_config = "say what a config key means, or a group of them, or all; with --json as a schema for editors"
    parser.add_argument("--help-config", nargs="?", const="", metavar="KEY", help=help_config)
    parser.add_argument("--completion", choices=SHELLS, help="print a script that completes this command; source it")
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="config overrides, such as TRAIN.NUM_EPOCHS 10")
    return parser


def add_json(parser: Parser) -> None:
    """Declare `--json`; see `stage.figures`."""
    parser.add_argument("--json", metavar="FILE|-", help="write what was scored there, as JSON; - is standard output")
