"""What several commands take: how images are encoded, and what is taken of it."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mae_core.process.command_line import Flag, Parser, flag_pairs
from mae_core.stage.cli.flags import STAGE_FLAGS

if TYPE_CHECKING:
    from mae_core.stage.config.from_weights import Opened
    from mae_core.stage.config.node import Config
    from mae_probe.extraction.pooling import Part

POOLS = ("class", "mean", "grid2", "grid4")  # the names in mae_probe.extraction.pooling.POOLS, which need Paddle
OWN_FLAGS = (
    Flag("random_init", "MODEL.RANDOM_INIT", "random weights: what training has to beat", switch=True),
    Flag("no_cache", "NO_CACHE", "encode anew; read and keep no features in features/", switch=True),
)
_ENCODING = ("cfg", "dataset", "data_path", "batch_size", "image_size", "pretrained", "amp")
ENCODING_FLAGS = (*(flag for flag in STAGE_FLAGS if flag.name in _ENCODING), *OWN_FLAGS)
WHITEN = (
    "centre the features and scale their principal directions to one variance, as the training images have them; raw"
    " pixels stay as they are"
)
BLOCK = "tokens of the block of this number from 0, or from the end if negative (default -1), behind the last norm"
_POOL = (
    "class token, mean of the patch tokens, or means of 2 x 2 or 4 x 4 parts of the image, side by side (default: by"
    " MODEL.GLOBAL_POOL); several, as in --pool class mean, take one pass over the images"
)
PROBED_FLAG = Flag("block", "MODEL.BLOCK", f"{BLOCK}; the probe does without later blocks", int)
_BLOCK_NUMBER = re.compile(r"-?\d+|all")


def add_pool(parser: Parser) -> None:
    """Declare --pool and --block."""
    parser.add_argument("--pool", choices=POOLS, action="append", default=[], help=_POOL)
    several = f"{BLOCK}; several, or all, are compared in one pass over the images"
    parser.add_argument("--block", type=_block, action="append", default=[], metavar="NUMBER", help=several)


def _block(word: str) -> str:
    if word != "all" and not _BLOCK_NUMBER.fullmatch(word):
        raise ArgumentTypeError(f"{word!r} is neither the number of a block nor all")
    return word


def split_choices(words: list[str]) -> list[str]:
    """Turn `--pool A B` into `--pool A --pool B`: argparse would take KEY VALUE words behind it for pools too."""
    split: list[str] = []
    for word in words:
        flag = split[-2] if len(split) > 1 else ""
        again = (flag == "--pool" and word in POOLS) or (flag == "--block" and _BLOCK_NUMBER.fullmatch(word))
        split += [flag, word] if again else [word]
    return split


def open_config(args: Namespace, flags: Sequence[Flag], pairs: Sequence[str]) -> Opened:
    """Build the config of a command, and open the weights that it names."""
    from mae_core.stage.config.from_weights import load_config
    from mae_probe.config import RECIPE

    return load_config(RECIPE, args.cfg, flag_pairs(args, flags), pairs, whole=True)


def parts_of(args: Namespace, config: Config) -> list[Part]:
    """Return what --pool, --block and --tokens ask for, each once, with blocks counted from 0."""
    from mae_probe.build import depth_of
    from mae_probe.extraction.encoding import own_pool
    from mae_probe.extraction.pooling import TOKENS, Part, block_numbers

    pools = [TOKENS] if getattr(args, "tokens", False) else args.pool or [own_pool(config)]
    blocks = block_numbers(args.block or [-1], depth_of(config))
    return [Part(pool, block) for block in blocks for pool in dict.fromkeys(pools)]
