"""`mae-core convert`, `mae-core inspect` and `mae-core build`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mae_core import __version__
from mae_core.libraries.build_command import build
from mae_core.process.command_line import Parser, run
from mae_core.process.runtime import version_line

_ABOUT = """commands:
  convert SRC DST   convert weights from any published format to any other
  inspect FILE      say what a weight file holds
  build             compile the fused operators for the Paddle that is installed

mae-core COMMAND --help says more."""


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty text is no path")
    return Path(text)


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    if value.lower() in ("true", "false"):
        return key, value.lower() == "true"
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=NUMBER, KEY=ROWS,COLUMNS or KEY=true") from None
    return key, numbers[0] if len(numbers) == 1 else tuple(numbers)


def _convert(argv: list[str]) -> None:
    from mae_core.weights.layouts import LAYOUTS

    parser = Parser(prog="mae-core convert", description="Convert weights; values are copied bit for bit.")
    parser.add_argument(
        "source", type=_path, help="file (suffix optional), run folder, checkpoint folder or Hugging Face folder"
    )
    parser.add_argument(
        "destination", type=_path, help=".safetensors, .pdparams or .pth file, or a folder for huggingface"
    )
    parser.add_argument("--from", dest="layout", default="auto", help=f"auto, {', '.join(LAYOUTS)}")
    parser.add_argument("--to", dest="target", default="auto", help=f"auto (by suffix), {', '.join(LAYOUTS)}")
    parser.add_argument(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what the file does not tell: img_size=H,W patch_size in_chans num_heads decoder_num_heads norm_pix_loss",
    )
    args = parser.parse_args(argv)
    from mae_core.weights.checkpoint_folder import find_weights
    from mae_core.weights.convert import convert

    done = convert(
        find_weights(args.source),
        args.destination,
        source=args.layout,
        target=args.target,
        settings=dict(args.settings),
    )
    print("\n".join(done.lines()))


def _inspect(argv: list[str]) -> None:
    parser = Parser(prog="mae-core inspect", description="Say what a weight file holds; nothing in it is run.")
    parser.add_argument(
        "file", type=_path, help="file (suffix optional), run folder, checkpoint folder or Hugging Face folder"
    )
    args = parser.parse_args(argv)
    from mae_core.weights.checkpoint_folder import find_weights
    from mae_core.weights.inspection import inspect_lines

    for line in inspect_lines(find_weights(args.file)):
        print(line)


_COMMANDS = {"convert": _convert, "inspect": _inspect, "build": build}


def _main(argv: list[str]) -> None:
    parser = Parser(
        prog="mae-core",
        description="Weights and operators of masked autoencoders.",
        epilog=_ABOUT,
        formatter_class=_Raw,
    )
    parser.add_argument("--version", action="version", version=version_line("mae-core", __version__))
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not argv:
        parser.print_help()
        return
    args = parser.parse_args(argv)
    _COMMANDS[args.command](args.arguments)


_Raw = argparse.RawDescriptionHelpFormatter


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mae-core`; return the exit code."""
    return run(_main, argv)
