"""`mae-probe map`: the images of a folder as one page to look at."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import add_pairs
from mae_probe.commands.flags import ENCODING_FLAGS, add_pool, open_config, parts_of

if TYPE_CHECKING:
    from mae_core.stage.config.node import Config

_UMAP = 'lay the images out by UMAP too, beside PCA (pip install "mae-probe[umap]")'


def add_map(parser: Parser) -> None:
    """Declare the command; `mae_probe.mapping.draw.MapChoices` has the defaults too."""
    described = "write a page of a folder's images: what lies near what, outliers, near-duplicates, doubtful labels"
    command = parser.add_command("map", _map, described)
    add_flags(command, ENCODING_FLAGS)
    add_flags(command, (Flag("output", None, "HTML file to write (default map.html)"),))
    command.add_argument("--list", help="list file below -data_path (default DATA.VAL_LIST); labels may be missing")
    add_pool(command)
    limit = "most images, evenly over the list, at most 50000 (default 10000)"
    command.add_argument("--limit", type=int, default=10_000, metavar="N", help=limit)
    command.add_argument("--umap", action="store_true", help=_UMAP)
    add_pairs(command, "DATA.NUM_WORKERS 4")


def _map(args: Namespace) -> None:
    opened = open_config(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_probe.mapping.draw import MapChoices, draw_map, prepare_map

    path, parts = Path(args.output or "map.html"), parts_of(args, opened.config)
    if len(parts) > 1:
        raise UserError("a map is of one --pool and one --block; make a page for each")
    prepare_map(path)
    made = draw_map(opened, MapChoices(parts[0], args.list, args.limit, args.umap))
    made.write(path)
    print(f"{path}: {made.summary()}, {path.stat().st_size / 2**20:.1f} MB")
    if not args.list and (others := _training_images(opened.config)):
        data = opened.config.DATA
        print(f"these are the images of {data.VAL_LIST}; --list {data.TRAIN_LIST} shows the {others:,} of training")


def _training_images(config: Config) -> int:
    """Return how many images the training list has; 0 where there is none, or they are those of validation."""
    from mae_data.errors import DataError
    from mae_probe.build import eval_dataset

    try:
        lists = [eval_dataset(config, name, "optional") for name in (config.DATA.TRAIN_LIST, config.DATA.VAL_LIST)]
    except DataError:
        return 0
    train, val = (images.fingerprint() for images in lists)
    return 0 if train == val else len(lists[0])
