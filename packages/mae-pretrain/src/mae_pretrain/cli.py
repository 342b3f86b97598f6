"""`mae-pretrain`: train (no subcommand), `visualize`, `curve`, `export`. Help answers without importing Paddle."""

from collections.abc import Sequence
from typing import Any

from mae_core.command_line import Flag, Parser, add_flags, run
from mae_core.errors import UserError
from mae_core.runtime import import_paddle
from mae_core.stage.command import train_or_score
from mae_core.stage.export import export_config, export_parser
from mae_core.stage.flags import CFG_FLAG, PRETRAINED_FLAG, add_bands, stage_parser
from mae_core.stage.memory import explain
from mae_pretrain import __version__

EPILOG = "also: mae-pretrain visualize --help, mae-pretrain curve --help, mae-pretrain export --help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(_dispatch, argv, explain)


def _dispatch(argv: list[str]) -> None:
    commands = {"visualize": _visualize, "curve": _curve, "export": _export}
    if argv and argv[0] in commands:
        commands[argv[0]](argv[1:])
    else:
        train_or_score("mae_pretrain", train_parser(), argv, commands)


def _parser(command: str, description: str, **kwargs: Any) -> Parser:
    return Parser(prog=f"mae-pretrain{command}", description=description, **kwargs)


def train_parser() -> Parser:
    """Build the parser of the main command."""
    return stage_parser("mae-pretrain", "Pre-train a masked autoencoder (arXiv 2111.06377).", __version__, EPILOG)


def _visualize(argv: list[str]) -> None:
    parser = _parser(" visualize", "Draw original, masked, reconstruction and reconstruction + visible.")
    add_flags(parser, (CFG_FLAG, PRETRAINED_FLAG, Flag("output", None, "PNG to write (default reconstruction.png)")))
    parser.add_argument("--seed", type=int, default=0, help="draws the masks")
    parser.add_argument("--mask-ratio", type=float, help="instead of the config's")
    add_bands(parser)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="config override")
    parser.add_argument("images", nargs="+", help="image files")
    args = parser.parse_intermixed_args(argv)
    if not args.pretrained:
        raise UserError("visualize needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    import_paddle()
    from mae_core.stage.inheritance import load_config
    from mae_pretrain.config import RECIPE
    from mae_pretrain.visualize import visualize

    flags = {"MODEL.PRETRAINED": args.pretrained, "MODEL.MASK_RATIO": args.mask_ratio}
    flags = {key: value for key, value in flags.items() if value is not None}
    pairs = [word for pair in args.set for word in pair]
    config = load_config(RECIPE, args.cfg, flags, pairs, whole=True)
    print(visualize(config, args.images, args.output or "reconstruction.png", args.seed, args.bands))


def _curve(argv: list[str]) -> None:
    parser = _parser(" curve", "Draw the loss curve of a run.")
    add_flags(parser, (Flag("output", None, "PNG to write (default RUN/loss.png)"),))
    parser.add_argument("run", help="run folder")
    args = parser.parse_args(argv)
    from mae_pretrain.curve import draw_curve

    print(draw_curve(args.run, args.output or f"{args.run}/loss.png"))


def _export(argv: list[str]) -> None:
    parser = export_parser("mae-pretrain export", "Write the encoder's features, for Paddle inference or as ONNX.")
    parser.add_argument("--with-decoder", action="store_true", help="the whole autoencoder; noise is a second input")
    args = parser.parse_intermixed_args(argv)
    from mae_pretrain.config import RECIPE

    config = export_config(args, RECIPE)
    from mae_pretrain.export import export

    print(export(config, args.output, args.format, args.with_decoder))
