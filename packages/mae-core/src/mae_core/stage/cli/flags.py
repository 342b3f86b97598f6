"""The flags and words that the commands of all stages share."""

import os
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.model_sizes import PRESET_NAMES
from mae_core.process.command_line import Flag, Parser, image_size

if TYPE_CHECKING:  # help does without
    from mae_core.stage.config.recipe import Recipe

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
    Flag("image_size", "DATA.IMAGE_SIZE", "pixels, 224 or 64x96 (height x width), whole patches", image_size),
    Flag("accum_iter", "TRAIN.ACCUM_ITER", "forward passes per update", int),
    Flag("output", "SAVE", "run folder: log, config, checkpoints"),
    PRETRAINED_FLAG,
    Flag("resume", "MODEL.RESUME", "run or checkpoint folder to go on from; auto: the -output folder, or anew"),
    Flag("last_epoch", "TRAIN.LAST_EPOCH", "of PaddleViT's commands: 0 alone is taken; -resume knows its epoch", int),
    Flag("eval", "EVAL", "score -pretrained on the validation list and stop", switch=True),
    Flag("amp", "AMP", "mixed precision (bfloat16 unless AMP_DTYPE float16)", switch=True),
)
# Those of a stage that only trains, from weights that say what the model is.
TRAINING_FLAGS = (
    *("cfg", "data_path", "batch_size", "image_size", "accum_iter", "output", "pretrained", "resume", "amp"),
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


def add_windows(parser: Parser) -> None:
    """Add the flag of commands that look at scenes window by window; see `require_overlap`."""
    parser.add_argument(
        "--windows",
        type=int,
        metavar="OVERLAP",
        help="cut each image into windows of the model's image size, at native resolution, that share OVERLAP pixels"
        " with their neighbours (0: none), and give a row for each",
    )


def require_overlap(overlap: int | None, image_size: int | list[int]) -> None:
    """Refuse windows that share more pixels than leave a step."""
    side = image_size if isinstance(image_size, int) else min(image_size)
    if overlap is not None and not 0 <= overlap < side:
        raise UserError(f"--windows {overlap}: windows of {side} pixels share 0 to {side - 1} with their neighbours")


def add_address(parser: Parser) -> None:
    """Add the flags of commands that serve a page."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default 8000)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is no port; give 1 to 65535, or 0 for a free one")
    return int(text)


def add_json(parser: Parser) -> None:
    """Declare `--json`; see `stage.run.scores_file`."""
    parser.add_argument("--json", metavar="FILE|-", help="write what was scored there, as JSON; - is standard output")


def add_pairs(parser: Parser, example: str) -> None:
    """Declare `KEY VALUE` words, which set config keys."""
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help=f"config overrides at the end, such as {example}")


def add_images(parser: Parser, metavar: str, text: str) -> None:
    """Declare image files, which `KEY VALUE` words may follow; see `split_pairs`."""
    parser.add_argument(
        "images", nargs="+", metavar=metavar, help=f"{text}; config overrides may follow: KEY VALUE ..."
    )
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help=SUPPRESS)


def split_pairs(args: Namespace, recipe: "Recipe") -> tuple[list[str], list[str]]:
    """Return image files and `KEY VALUE` words, of which the first is a key of the recipe or of a group of it."""
    words: list[str] = args.images
    keys = [word.partition(".")[0] in recipe.defaults and not os.path.exists(word) for word in words]
    first = keys.index(True) if True in keys else len(words)
    pairs = [word for pair in args.set for word in pair]  # the spelling of version 0.1
    return words[:first], pairs + words[first:]
