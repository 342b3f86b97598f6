"""What the `export` commands of the stages share. Help does not import Paddle."""

import os
from argparse import ArgumentTypeError, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.export import FORMATS, MIN_AGREEMENT
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import CFG_FLAG, PRETRAINED_FLAG, STAGE_FLAGS, add_pairs

if TYPE_CHECKING:
    from mae_core.stage.config.from_weights import Opened
    from mae_core.stage.config.recipe import Recipe

_DATA = tuple(flag for flag in STAGE_FLAGS if flag.name in ("data_path", "image_size"))
_OUTPUT = Flag("output", None, "folder to write (default exported); an earlier export in it is replaced")
EXPORT_FLAGS = (CFG_FLAG, PRETRAINED_FLAG, *_DATA, _OUTPUT)

_INT8 = (
    "ONNX with products of int8, compared with float32 on validation images; ranges of activations are found as it"
    " runs, or static: before, on training images"
)


def add_export(parser: Parser) -> None:
    """Declare what all `export` commands take."""
    add_flags(parser, EXPORT_FLAGS)
    parser.add_argument("--format", choices=FORMATS, help="default paddle; onnx needs the extra")
    narrow = parser.add_mutually_exclusive_group()
    narrow.add_argument("--int8", nargs="?", choices=("dynamic", "static"), const="dynamic", help=_INT8)
    narrow.add_argument("--bf16", action="store_true", help="ONNX of half the size, weights as bfloat16; not faster")
    least = f"least agreement of --int8 and --bf16 with float32, else nothing is written (default {MIN_AGREEMENT})"
    parser.add_argument("--min-agreement", type=_share, default=MIN_AGREEMENT, metavar="SHARE", help=least)
    add_pairs(parser, "MODEL.NUM_CLASSES 10")


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0.0 <= (number := float(text)) <= 1.0:
            return number
    raise ArgumentTypeError(f"{text} is not a number from 0 to 1")


def narrow_kind(args: Namespace) -> str | None:
    """Return which of `export.KINDS` is asked for, if any."""
    return {"dynamic": "int8", "static": "int8-static"}.get(args.int8, "bfloat16" if args.bf16 else None)


def export_config(args: Namespace, recipe: "Recipe") -> "Opened":
    """Import Paddle, open the weights and return them with the config: theirs, and over it -cfg, flags and pairs."""
    from mae_core.stage.config.from_weights import load_config  # what help does without

    if not args.pretrained:
        raise UserError("export needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's remarks on graphs
    import_paddle()
    return load_config(recipe, args.cfg, flag_pairs(args, EXPORT_FLAGS), args.pairs, whole=True)
