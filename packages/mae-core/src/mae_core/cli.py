"""Command lines of the stages: flags declared once with both spellings, errors in one line."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mae_core.errors import UserError


@dataclass(frozen=True)
class Flag:
    """A flag `-name` / `--na-me` that sets one config key.

    Args:
        key: dotted config key; None when the stage reads the flag itself.
        options: more arguments of `add_argument`.
    """

    name: str
    key: str | None
    help: str
    type: Callable[[str], Any] = str
    options: dict[str, Any] | None = None


class Parser(argparse.ArgumentParser):
    """ArgumentParser without abbreviations and with one-line errors."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        return []  # allow_abbrev=False leaves abbreviations of `-flag` spellings working

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """Declare flags; an absent flag is None."""
    for flag in flags:
        spellings = [f"-{flag.name}", f"--{flag.name.replace('_', '-')}"]
        options = flag.options or {"type": flag.type, "metavar": flag.name.upper()}
        parser.add_argument(*dict.fromkeys(spellings), dest=flag.name, default=None, help=flag.help, **options)


_ON = {"action": "store_true"}
CFG_FLAG = Flag("cfg", None, "YAML config: a file, or the name of a packaged one")
PRETRAINED_FLAG = Flag(
    "pretrained",
    "MODEL.PRETRAINED",
    "weights: a run folder, a checkpoint folder, or a weight file of any source (suffix optional)",
)
STAGE_FLAGS = (
    CFG_FLAG,
    Flag("dataset", "DATA.DATASET", "kind of data set: imagenet2012 (list files under -data_path)"),
    Flag("data_path", "DATA.DATA_PATH", "folder with train_list.txt, val_list.txt and the images"),
    Flag("batch_size", "DATA.BATCH_SIZE", "images a rank and forward pass", int),
    Flag("image_size", "DATA.IMAGE_SIZE", "pixels, a multiple of the patch size", int),
    Flag("accum_iter", "TRAIN.ACCUM_ITER", "forward passes an update", int),
    Flag("output", "SAVE", "run folder: log, config, checkpoints"),
    PRETRAINED_FLAG,
    Flag("resume", "MODEL.RESUME", "run or checkpoint folder to go on from; auto: the -output folder"),
    Flag("eval", "EVAL", "score -pretrained on the validation list and stop", options=_ON),
    Flag("amp", "AMP", "mixed precision (bfloat16 unless AMP_DTYPE float16)", options=_ON),
)


def stage_parser(prog: str, description: str, version: str, epilog: str | None = None) -> Parser:
    """Build the parser of a stage's main command."""
    parser = Parser(prog=prog, description=description, epilog=epilog)
    parser.add_argument("--version", action="version", version=version)
    add_flags(parser, STAGE_FLAGS)
    parser.add_argument(
        "--allow-drift", action="append", default=[], metavar="KEY", help="let KEY differ when resuming"
    )
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="config overrides, such as TRAIN.NUM_EPOCHS 10")
    return parser


def flag_pairs(args: argparse.Namespace, flags: Sequence[Flag]) -> dict[str, Any]:
    """Return {config key: value} of the flags that were given."""
    values = {flag.key: getattr(args, flag.name) for flag in flags if flag.key}
    return {key: value for key, value in values.items() if value is not None}


def run(main: Callable[[list[str]], None], argv: Sequence[str] | None = None) -> int:
    """Run a console script's body; return the exit code.

    An exception with an `exit_code` is the user's to mend: one line on standard error, no traceback
    unless `--debug` is among the arguments.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        main([a for a in arguments if a != "--debug"])
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if debug or code is None:
            traceback.print_exc()
        if code is not None:
            print(f"error: {error}", file=sys.stderr)
        return 1 if code is None else int(code)
    return 0
