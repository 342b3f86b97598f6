"""`mae-core convert`, `mae-core inspect` and `mae-core build`."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mae_core import __version__
from mae_core.libraries.build_command import build
from mae_core.process.command_line import Parser, given, run
from mae_core.process.runtime import version_line

# weights.layouts.LAYOUTS, which help does without
LAYOUTS = "mae-core, official, timm, huggingface, paddlevit, paddleclas, paddleseg, paddledet, passl"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(make_parser().start, argv)


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = Parser(prog="mae-core", description="Weights and operators of masked autoencoders.")
    parser.add_argument("--version", action="version", version=version_line("mae-core", __version__))

    source = "file (suffix optional), run folder, checkpoint folder or Hugging Face folder"
    convert = parser.add_command("convert", _convert, "convert weights from any published format to any other")
    convert.add_argument("source", type=_path, help=source)
    target = ".safetensors, .pdparams or .pth file, or a folder for huggingface"
    convert.add_argument("destination", type=_path, help=target)
    convert.add_argument("--from", dest="layout", default="auto", help=f"auto, {LAYOUTS}")
    convert.add_argument("--to", dest="target", default="auto", help=f"auto (by suffix), {LAYOUTS}")
    missing = "img_size=H,W patch_size in_chans num_heads decoder_num_heads norm_pix_loss"
    convert.add_argument(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"what the file does not hold: {missing}",
    )

    inspect = parser.add_command("inspect", _inspect, "print what a weight file holds; nothing in it is run")
    inspect.add_argument("file", type=_path, help=source)

    make = parser.add_command("build", build, "compile the fused operators for the Paddle that is installed")
    make.epilog = (
        "The library goes into the package or, where that cannot be written, into the user's cache folder. Needs a C++"
        " compiler; CXX, CUDA_HOME and MAE_CORE_CUDA_ARCHS are heeded."
    )
    make.add_argument("--cuda", action="store_true", help="insist on CUDA kernels, which a GPU distribution gets")
    return parser


def _path(text: str) -> Path:
    return Path(given(text))


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    if value.lower() in ("true", "false"):
        return key, value.lower() == "true"
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not KEY=NUMBER, KEY=ROWS,COLUMNS or KEY=true") from None
    return key, numbers[0] if len(numbers) == 1 else tuple(numbers)


def _convert(args: Namespace) -> None:
    from mae_core.weights.checkpoint_folder import find_weights
    from mae_core.weights.convert import convert

    source, settings = find_weights(args.source), dict(args.settings)
    done = convert(source, args.destination, source=args.layout, target=args.target, settings=settings)
    print("\n".join(done.lines()))


def _inspect(args: Namespace) -> None:
    from mae_core.weights.checkpoint_folder import find_weights
    from mae_core.weights.sources import inspect_lines

    for line in inspect_lines(find_weights(args.file)):
        print(line)
