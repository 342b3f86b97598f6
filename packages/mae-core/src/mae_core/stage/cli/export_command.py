"""What the `export` commands of the stages share. Help does not import Paddle."""

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.export import FORMATS
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import CFG_FLAG, PRETRAINED_FLAG, STAGE_FLAGS, add_pairs

if TYPE_CHECKING:
    from mae_core.stage.config.from_weights import Opened
    from mae_core.stage.config.recipe import Recipe

_IMAGE_SIZE = tuple(flag for flag in STAGE_FLAGS if flag.name == "image_size")
_OUTPUT = Flag("output", None, "folder to write (default exported); an earlier export in it is replaced")
EXPORT_FLAGS = (CFG_FLAG, PRETRAINED_FLAG, *_IMAGE_SIZE, _OUTPUT)


def add_export(parser: Parser) -> None:
    """Declare what all `export` commands take."""
    add_flags(parser, EXPORT_FLAGS)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="default paddle; onnx needs the extra")
    add_pairs(parser, "MODEL.NUM_CLASSES 10")


def export_config(args: Namespace, recipe: "Recipe") -> "Opened":
    """Import Paddle, open the weights and return them with the config: theirs, and over it -cfg, flags and pairs."""
    from mae_core.stage.config.from_weights import load_config  # what help does without

    if not args.pretrained:
        raise UserError("export needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's remarks on graphs
    import_paddle()
    return load_config(recipe, args.cfg, flag_pairs(args, EXPORT_FLAGS), args.pairs, whole=True)
