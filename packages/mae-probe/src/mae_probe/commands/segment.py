"""`mae-probe segment`: segmentation by frozen patches."""

from argparse import Namespace
from dataclasses import asdict, fields
from pathlib import Path

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import add_json, add_pairs
from mae_probe.commands.flags import BLOCK, ENCODING_FLAGS, WHITEN, open_config

_HEAD = (
    "knn: the nearest training patches vote (arXiv 2306.01667); linear: one layer is trained, as DINOv3 does (default"
    " knn). For both, images are resized whole to the model's size"
)


def add_segment(parser: Parser) -> None:
    """Declare the command; `mae_probe.segmentation.comparison.Choices` has the defaults too."""
    segment = parser.add_command("segment", _segment, "segment by frozen patches, beside random init and raw pixels")
    add_flags(segment, ENCODING_FLAGS)
    add_flags(segment, (Flag("output", None, "PNG file for image, truth, prediction and mistakes of six images"),))
    segment.add_argument("--head", choices=("knn", "linear"), default="knn", help=_HEAD)
    segment.add_argument("--block", type=int, default=-1, metavar="NUMBER", help=BLOCK)
    segment.add_argument("--k", type=int, default=30, help="knn: neighbours that vote (default 30)")
    segment.add_argument("--memory", type=int, default=100_000, help="knn: training patches to keep (default 100000)")
    segment.add_argument("--whiten", action="store_true", help=f"knn: {WHITEN}".replace("images", "patches"))
    segment.add_argument("--epochs", type=int, default=20, help="linear: passes over the training images (default 20)")
    segment.add_argument("--lr", type=float, default=1e-3, help="linear: highest learning rate (default 0.001)")
    segment.add_argument(
        "--ignore", type=int, default=255, help="value of pixels in masks that do not count (default 255)"
    )
    add_json(segment)
    add_pairs(segment, "DATA.IMAGE_SIZE 224")


def _segment(args: Namespace) -> None:
    opened = open_config(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_core.files import png_bytes, prepare_output, refuse_unwritable, write_output
    from mae_core.stage.run.scores_file import prepare_json, print_result, write_json
    from mae_probe.segmentation.comparison import Choices, segment

    choices = Choices(**{field.name: getattr(args, field.name) for field in fields(Choices)})
    prepare_json(args.json)
    path = Path(args.output) if args.output else None
    if path:
        if path.suffix != ".png":
            raise UserError(f"-output {path} does not end in .png; name such a file")
        prepare_output(path)
    found = segment(opened, choices)
    for line in found.lines():
        print_result(args.json, line)
    write_json(args.json, {**asdict(choices), "classes": found.names, **found.figures()})
    if path:
        with refuse_unwritable(path):
            write_output(path, png_bytes(found.sheet.save))
        print_result(args.json, f"{path}: image, truth, prediction and mistakes")
